//! The stream of a connection. What comes in is read strictly before hyper sees it, and also while hyper does not read:
//! so a client that has gone is noticed while its request waits or runs.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::Instant;
use tracing::error;

use crate::connection::{Clock, Phase};
use crate::file::Holes;
use crate::strict::{Fault, Limits, Strict};

/// How much is read before hyper asks for it.
const AHEAD: usize = 8 * 1024;
/// Bytes of one read into our own memory.
const PIECE: usize = 4 * 1024;

/// A stream that is a socket, so that the kernel can send a file over it.
pub(crate) trait Socket: AsyncRead + AsyncWrite + Unpin {
    /// Has `write` write to the socket when it has room.
    fn poll_write_by(
        &self,
        context: &mut Context<'_>,
        write: impl FnMut(BorrowedFd<'_>) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>>;

    /// Lets the closing of the socket look like the failure that it is, as far as its kind has a way to say so.
    fn close_as_failed(&self);
}

macro_rules! socket {
    ($stream:ty, $close_as_failed:expr) => {
        impl Socket for $stream {
            fn poll_write_by(
                &self,
                context: &mut Context<'_>,
                mut write: impl FnMut(BorrowedFd<'_>) -> io::Result<usize>,
            ) -> Poll<io::Result<usize>> {
                loop {
                    ready!(self.poll_write_ready(context))?;
                    match self.try_io(Interest::WRITABLE, || write(self.as_fd())) {
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                        written => return Poll::Ready(written),
                    }
                }
            }

            fn close_as_failed(&self) {
                $close_as_failed(self);
            }
        }
    };
}

socket!(TcpStream, |socket: &TcpStream| {
    // A reset. A socket that cannot be set up for it is gone already.
    let _ = socket.set_zero_linger();
});
socket!(UnixStream, |_| {});

/// The stream and what is known of it.
#[derive(Debug)]
pub(crate) struct Wire<S> {
    stream: S,
    clock: Clock,
    strict: Strict,
    /// What has been read and not been handed on; so many bytes from its beginning may be.
    waiting: Vec<u8>,
    good: usize,
    /// Why nothing more is read.
    end: Option<End>,
    /// hyper has heard of the end: for it, the client has closed.
    told: bool,
    /// Since when the client has not taken what there is to write.
    blocked: Option<Instant>,
    /// What the client gets in the place of holes.
    holes: Holes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The client has sent everything; it may still read.
    Closed,
    /// The input cannot be read on. In a body, the request is there to be refused, otherwise it never was.
    Fault { fault: Fault, in_body: bool },
}

/// hyper's end of the wire.
#[derive(Debug)]
pub(crate) struct Handle<S>(pub(crate) Rc<RefCell<Wire<S>>>);

impl<S> Wire<S> {
    pub(crate) fn new(stream: S, clock: Clock, holes: Holes, limits: Limits) -> Self {
        Self {
            stream,
            clock,
            strict: Strict::new(limits),
            waiting: Vec::new(),
            good: 0,
            end: None,
            told: false,
            blocked: None,
            holes,
        }
    }

    /// What stands against the request for which hyper was waiting.
    pub(crate) fn fault(&self) -> Option<Fault> {
        match self.end {
            Some(End::Fault {
                fault,
                in_body: false,
            }) if self.told => Some(fault),
            _ => None,
        }
    }

    /// Some of a request has come that has not been handed on.
    pub(crate) fn has_begun(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The client left within the head for which hyper was waiting.
    pub(crate) fn was_left(&self) -> bool {
        self.told && self.end == Some(End::Closed) && !self.request_line().is_empty()
    }

    /// The request line that has not been handed on, as far as it has come.
    pub(crate) fn request_line(&self) -> &[u8] {
        let empty_lines = |byte: &&u8| matches!(byte, b'\r' | b'\n');
        let skipped = self.waiting.iter().take_while(empty_lines).count();
        let line = &self.waiting[skipped..];
        let end = line.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
        &line[..end.unwrap_or(line.len())]
    }

    /// Since when the client has not taken what there is to write.
    pub(crate) fn blocked(&self) -> Option<Instant> {
        self.blocked
    }

    /// Input may come for which nobody waits: closed now, the connection would be reset, and with it what the client
    /// has not read yet.
    pub(crate) fn has_rest(&self) -> bool {
        self.end != Some(End::Closed) && (self.strict.in_body() || self.has_begun())
    }

    /// Reads `fresh` strictly; gives how much of it is good.
    fn judge(&mut self, fresh: &[u8]) -> usize {
        let in_body = self.strict.in_body();
        let good = self.strict.read(fresh);
        // A request whose head is good has been handed on before its body is found bad.
        let in_body = in_body || self.strict.in_body();
        if let Some(fault) = good.fault {
            self.end = Some(End::Fault { fault, in_body });
        }
        good.bytes
    }

    /// Notes that a further head has begun.
    fn note_head(&self) {
        if let Phase::Idle(_) = self.clock.get() {
            self.clock.set(Phase::Head(Instant::now()));
        }
    }

    /// Notes how a write went. When the client takes something again, the time for its next request begins anew.
    fn note_write(&mut self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let now = Instant::now;
        match (result.is_pending(), self.blocked) {
            (false, None) | (true, Some(_)) => {}
            (true, None) => self.blocked = Some(now()),
            (false, Some(_)) => {
                self.blocked = None;
                match self.clock.get() {
                    Phase::Idle(_) => self.clock.set(Phase::Idle(now())),
                    Phase::Head(_) => self.clock.set(Phase::Head(now())),
                    _ => {}
                }
            }
        }
        result
    }
}

impl<S: AsyncRead + Unpin> Wire<S> {
    /// Reads while hyper does not. An error says that the client has gone.
    pub(crate) fn look_ahead(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        while self.end.is_none() && !self.strict.in_body() && self.waiting.len() < AHEAD {
            match self.read_more(context) {
                Poll::Pending => break,
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads and forgets what still comes, until the client closes.
    pub(crate) async fn discard(&mut self) {
        let mut bytes = [0; PIECE];
        let stream = &mut self.stream;
        while let Ok(1..) = tokio::io::AsyncReadExt::read(stream, &mut bytes).await {}
    }

    /// Reads a piece into our own memory; hands nothing on.
    fn read_more(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut bytes = [0; PIECE];
        let mut buffer = ReadBuf::new(&mut bytes);
        ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer))?;
        if buffer.filled().is_empty() {
            self.end = Some(End::Closed);
        } else {
            self.waiting.extend_from_slice(buffer.filled());
            let waiting = std::mem::take(&mut self.waiting);
            self.good += self.judge(&waiting[self.good..]);
            self.waiting = waiting;
        }
        Poll::Ready(Ok(0))
    }

    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            if self.good > 0 {
                self.hand_on(buffer);
                return Poll::Ready(Ok(()));
            }
            if self.end.is_some() {
                self.told = true;
                return Poll::Ready(Ok(()));
            }
            let read = if self.has_begun() {
                self.note_head();
                ready!(self.read_more(context))
            } else {
                ready!(self.read_through(context, buffer))
            };
            match read {
                Ok(0) => {}
                Ok(_) => return Poll::Ready(Ok(())),
                Err(error) => {
                    (self.end, self.told) = (Some(End::Closed), true);
                    return Poll::Ready(Err(error));
                }
            }
        }
    }

    /// Hands on what is good of what waits.
    fn hand_on(&mut self, buffer: &mut ReadBuf<'_>) {
        self.note_head();
        let fitting = self.good.min(buffer.remaining());
        buffer.put_slice(&self.waiting[..fitting]);
        self.waiting.drain(..fitting);
        self.good -= fitting;
        if self.waiting.is_empty() {
            // An idle connection keeps no memory.
            self.waiting = Vec::new();
        }
    }

    /// Reads into hyper's own memory, which mostly holds a whole head at once; what is not good yet is taken out again.
    /// Gives how much is left in it.
    fn read_through(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<usize>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let fresh = &buffer.filled()[before..];
        if fresh.is_empty() {
            self.end = Some(End::Closed);
            return Poll::Ready(Ok(0));
        }
        self.note_head();
        let good = self.judge(fresh);
        self.waiting.extend_from_slice(&fresh[good..]);
        buffer.set_filled(before + good);
        Poll::Ready(Ok(good))
    }
}

impl<S: Socket> Wire<S> {
    /// Ends the connection so that no answer on it looks complete that has no length of its own.
    pub(crate) fn fail(self) {
        self.stream.close_as_failed();
    }

    /// Writes without hyper.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        tokio::io::AsyncWriteExt::write_all(&mut self.stream, bytes).await
    }

    /// Tells the client that nothing more comes.
    pub(crate) async fn shut_down(&mut self) -> io::Result<()> {
        tokio::io::AsyncWriteExt::shutdown(&mut self.stream).await
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Handle<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.0.borrow_mut().poll_read(context, buffer)
    }
}

impl<S: Socket> AsyncWrite for Handle<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        // Of one slice, which may be a hole.
        self.poll_write_vectored(context, &[io::IoSlice::new(bytes)])
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.borrow_mut().stream).poll_flush(context)
    }

    /// Does nothing: what comes after hyper's part decides how the connection ends.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn is_write_vectored(&self) -> bool {
        self.0.borrow().stream.is_write_vectored()
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut wire = self.0.borrow_mut();
        let Wire { stream, holes, .. } = &mut *wire;
        let result = match (holes.solid(slices), slices) {
            (0, [hole, ..]) => {
                stream.poll_write_by(context, |socket| holes.fill(socket, hole.len()))
            }
            (solid, _) => Pin::new(stream).poll_write_vectored(context, &slices[..solid]),
        };
        if let Poll::Ready(Err(error)) = &result
            && error.kind() == io::ErrorKind::UnexpectedEof
        {
            error!(%error, "the file of an answer cannot be read");
        }
        wire.note_write(result)
    }
}
