//! A stream between a client and us, as its kind has it.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::task::{Context, Poll, ready};

use rustix::fs::sendfile;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest};
use tokio::net::{TcpStream, UnixStream};

use crate::config::Untaken;

/// Bytes of memory that a socket takes beyond those that are on their way to the client: the kernel would let them grow
/// to MiB for each slow client.
pub(crate) const UNSENT: u32 = 64 * 1024;
/// Bytes of a file that a socket takes beyond those that are on their way: they are no memory of ours, and with much in
/// hand, the kernel sends by itself as the client takes.
const UNSENT_OF_FILE: u32 = 4 * 1024 * 1024;

/// What a connection is over.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin {
    /// Sends at most so many bytes of a file from `offset` on, without having them in memory; `None` where the stream has no
    /// such way.
    fn poll_send_file(
        &self,
        context: &mut Context<'_>,
        file: &File,
        offset: u64,
        length: usize,
    ) -> Option<Poll<io::Result<usize>>>;

    /// Lets the closing of the stream look like the failure that it is, as far as its kind has a way to say so.
    fn close_as_failed(&self);

    /// Has it take as much ahead of the client as is right for a file, or for memory, as far as its kind tells them apart.
    fn prepare_for_file(&self, is_file: bool);

    /// Bytes that the client has not taken.
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
                // A socket that is gone tells nothing, and fails by itself.
                ask(self.as_fd()).unwrap_or(0)
            }
        }
    };
}

socket!(
    TcpStream,
    |socket: &TcpStream| {
        // A reset. A socket that cannot be set up for it is gone already.
        let _ = socket.set_zero_linger();
    },
    |socket: &TcpStream, bytes| {
        // Left as it is, it is slower, or takes more.
        let _ = SockRef::from(socket).set_tcp_notsent_lowat(bytes);
    }
);
socket!(UnixStream, |_| {}, |_, _| {});
