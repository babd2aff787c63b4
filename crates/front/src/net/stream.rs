//! A stream to a client, and what differs between its kinds.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::task::{Context, Poll, ready};

use rustix::fs::sendfile;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest};
use tokio::net::{TcpStream, UnixStream};

use crate::config::Untaken;

/// Unsent bytes of memory that a socket buffers: without a limit, the kernel would let its buffer grow to MiB for
/// each slow client.
pub(crate) const UNSENT: u32 = 64 * 1024;
/// Unsent bytes of a file that a socket buffers: they are page cache, and with a long buffer the kernel goes on
/// sending by itself.
const UNSENT_OF_FILE: u32 = 4 * 1024 * 1024;

/// The stream of a connection.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin {
    /// Sends at most `length` bytes of a file from `offset` on, without copying them to memory; `None` where the
    /// stream has no such way.
    fn poll_send_file(
        &self,
        context: &mut Context<'_>,
        file: &File,
        offset: u64,
        length: usize,
    ) -> Option<Poll<io::Result<usize>>>;

    /// Makes the close look like a failure to the client, if this kind of stream can.
    fn close_as_failed(&self);

    /// Sets how much the stream buffers: for a file, or for memory.
    fn prepare_for_file(&self, is_file: bool);

    /// Bytes that the client has not read.
    fn untaken(&self, ask: Untaken) -> usize;
}

macro_rules! socket {
    ($stream:ty, $close_as_failed:expr, $take_ahead:expr) => {
        impl Stream for $stream {
            fn poll_send_file(
                &self,
                context: &mut Context<'_>,
                file: &File,
                offset: u64,
                length: usize,
            ) -> Option<Poll<io::Result<usize>>> {
                let mut send = || -> Poll<io::Result<usize>> {
                    loop {
                        ready!(self.poll_write_ready(context))?;
                        let mut offset = offset;
                        let sent = self.try_io(Interest::WRITABLE, || {
                            Ok(sendfile(self.as_fd(), file, Some(&mut offset), length)?)
                        });
                        match sent {
                            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                            sent => return Poll::Ready(sent),
                        }
                    }
                };
                Some(send())
            }

            fn close_as_failed(&self) {
                $close_as_failed(self);
            }

            fn prepare_for_file(&self, is_file: bool) {
                $take_ahead(self, if is_file { UNSENT_OF_FILE } else { UNSENT });
            }

            fn untaken(&self, ask: Untaken) -> usize {
                // On a closed socket the call fails, which is noticed elsewhere.
                ask(self.as_fd()).unwrap_or(0)
            }
        }
    };
}

socket!(
    TcpStream,
    |socket: &TcpStream| {
        // Closes with a reset. Setting the option fails only on a socket that is closed.
        let _ = socket.set_zero_linger();
    },
    |socket: &TcpStream, bytes| {
        // Without the option, the socket is slower, or buffers more.
        let _ = SockRef::from(socket).set_tcp_notsent_lowat(bytes);
    }
);
socket!(UnixStream, |_| {}, |_, _| {});
