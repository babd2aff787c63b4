//! The stream of a connection. What comes in is read strictly before anybody acts on it, and also while a request waits or
//! runs: so a client that has gone is noticed.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{BufMut, Bytes};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tracing::{debug, error};

use crate::accept::UNSENT;
use crate::clock;
use crate::connection::{Clock, Phase};
use crate::file::Holes;
use crate::heard::Heard;
use crate::strict::{Fault, Limits, Outline, Strict};
use crate::taking::{Behind, Untaken};

/// How much is read of a further request while one is served.
const AHEAD: usize = 8 * 1024;
/// Bytes of one read into our own memory.
const PIECE: usize = 4 * 1024;
/// Bytes of a file that a socket takes beyond those that are on their way: they are no memory of ours, and with much in
/// hand, the kernel sends by itself as the client takes.
const UNSENT_OF_FILE: u32 = 4 * 1024 * 1024;

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

    /// Has the socket take so many bytes beyond those that are on their way, as far as its kind tells them apart.
    fn take_ahead(&self, bytes: u32);

    /// Bytes that the client has not taken.
    fn untaken(&self, ask: Untaken) -> usize;
}

macro_rules! socket {
    ($stream:ty, $close_as_failed:expr, $take_ahead:expr) => {
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

            fn take_ahead(&self, bytes: u32) {
                $take_ahead(self, bytes);
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

/// The stream and what is known of it.
#[derive(Debug)]
pub(crate) struct Wire<S> {
    stream: S,
    clock: Clock,
    strict: Strict,
    /// What has been read and not been handed on.
    waiting: Vec<u8>,
    /// What is left of the head that hyper is to read.
    head: Option<Bytes>,
    /// Bodies are read by ourselves, and hyper knows nothing of them.
    keeps_body: bool,
    /// Why nothing more is read.
    end: Option<End>,
    /// The client has not taken what there is for it.
    behind: Option<Behind>,
    untaken: Untaken,
    /// What the client gets in the place of holes.
    holes: Holes,
    /// The socket takes as much as of a file.
    takes_file: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The client has sent everything; it may still read.
    Closed,
    /// The body is not what its framing says.
    Broken,
}

/// hyper's end of the wire: it reads one request.
#[derive(Debug)]
pub(crate) struct Handle<S>(pub(crate) Rc<RefCell<Wire<S>>>);

impl<S> Wire<S> {
    pub(crate) fn new(
        stream: S,
        clock: Clock,
        holes: Holes,
        limits: Limits,
        untaken: Untaken,
    ) -> Self {
        Self {
            stream,
            clock,
            strict: Strict::new(limits),
            waiting: Vec::new(),
            head: None,
            keeps_body: false,
            end: None,
            behind: None,
            untaken,
            holes,
            takes_file: false,
        }
    }

    /// Some of a request has come that has not been handed on.
    pub(crate) fn has_begun(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The request line that has not been handed on, as far as it has come.
    pub(crate) fn request_line(&self) -> &[u8] {
        let empty_lines = |byte: &&u8| matches!(byte, b'\r' | b'\n');
        let skipped = self.waiting.iter().take_while(empty_lines).count();
        let line = &self.waiting[skipped..];
        let end = line.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
        &line[..end.unwrap_or(line.len())]
    }

    /// Has hyper read this head next, and then its body, unless we keep that to ourselves.
    pub(crate) fn replay(&mut self, head: Vec<u8>, keeps_body: bool) {
        self.head = Some(head.into());
        self.keeps_body = keeps_body;
    }

    /// Bytes of the body that are still to come, when that is known.
    pub(crate) fn body_left(&self) -> Option<u64> {
        self.strict.left()
    }

    /// Whether hyper has read all of its request.
    pub(crate) fn is_handed_on(&self) -> bool {
        self.head.is_none() && !self.strict.in_body()
    }

    /// Whether something has been given to us that has not been written.
    pub(crate) fn is_writing(&self) -> bool {
        self.behind.is_some_and(|behind| behind.writing)
    }

    /// Input may come for which nobody waits: closed now, the connection would be reset, and with it what the client
    /// has not read yet.
    pub(crate) fn has_rest(&self) -> bool {
        self.end != Some(End::Closed) && (self.strict.in_body() || self.has_begun())
    }

    /// Reads a body strictly; gives how much of it is good.
    fn judge(&mut self, bytes: &[u8]) -> usize {
        let good = self.strict.body(bytes);
        if good.fault.is_some() {
            self.end = Some(End::Broken);
        }
        good.bytes
    }
}

impl<S: AsyncRead + Unpin> Wire<S> {
    /// Reads the next head. Without a fault, there is none because the client has closed.
    pub(crate) fn poll_head(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Heard, Option<Fault>>> {
        loop {
            if self.has_begun() {
                match self.strict.head(&self.waiting) {
                    Ok(None) => {
                        if let Phase::Idle(_) = self.clock.get() {
                            self.clock.set(Phase::Head(clock::now()));
                        }
                    }
                    Ok(Some(outline)) => return Poll::Ready(Ok(self.take_head(outline))),
                    Err(fault) => return Poll::Ready(Err(Some(fault))),
                }
            }
            if self.end.is_none() {
                match ready!(self.read_more(context)) {
                    Ok(()) => continue,
                    Err(error) => {
                        debug!(%error, "the client has gone");
                        self.end = Some(End::Closed);
                    }
                }
            }
            return Poll::Ready(Err(None));
        }
    }

    fn take_head(&mut self, outline: Outline) -> Heard {
        // An idle connection keeps no memory.
        let behind = match self.waiting.len() {
            length if length == outline.length => Vec::new(),
            _ => self.waiting.split_off(outline.length),
        };
        Heard::new(std::mem::replace(&mut self.waiting, behind), outline)
    }

    /// Reads on in a body of known length, of which `body` has what has been read. An error says that its end will not come.
    pub(crate) fn poll_body(
        &mut self,
        context: &mut Context<'_>,
        body: &mut Vec<u8>,
        length: usize,
    ) -> Poll<io::Result<()>> {
        let before = body.len();
        if self.has_begun() {
            let fitting = self.waiting.len().min(length - before);
            body.extend(self.waiting.drain(..fitting));
        } else if self.end.is_none() {
            let mut room = (&mut *body).limit(length - before);
            let read = pin!(self.stream.read_buf(&mut room));
            if ready!(read.poll(context)).unwrap_or(0) == 0 {
                self.end = Some(End::Closed);
            }
        }
        if body.len() == before {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        self.judge(&body[before..]);
        Poll::Ready(Ok(()))
    }

    /// Reads while nobody else does. An error says that the client has gone.
    pub(crate) fn look_ahead(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        while self.end.is_none() && !self.strict.in_body() && self.waiting.len() < AHEAD {
            match self.read_more(context) {
                Poll::Pending => break,
                Poll::Ready(read) => read?,
            }
        }
        Ok(())
    }

    /// Reads and forgets what still comes, until the client closes.
    pub(crate) async fn discard(&mut self) {
        // The buffer is on the stack of a poll: in the future, every connection would carry it for its whole life.
        poll_fn(|context| {
            loop {
                let mut bytes = [MaybeUninit::uninit(); PIECE];
                let mut buffer = ReadBuf::uninit(&mut bytes);
                let read = ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer));
                if read.is_err() || buffer.filled().is_empty() {
                    return Poll::Ready(());
                }
            }
        })
        .await;
    }

    /// Reads a piece into our own memory.
    fn read_more(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut bytes = [MaybeUninit::uninit(); PIECE];
        let mut buffer = ReadBuf::uninit(&mut bytes);
        ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer))?;
        if buffer.filled().is_empty() {
            self.end = Some(End::Closed);
        } else {
            self.waiting.extend_from_slice(buffer.filled());
        }
        Poll::Ready(Ok(()))
    }

    /// Hands on what hyper is to have of its request.
    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(head) = &mut self.head {
            let fitting = head.len().min(buffer.remaining());
            buffer.put_slice(&head.split_to(fitting));
            if head.is_empty() {
                self.head = None;
            }
            return Poll::Ready(Ok(()));
        }
        if self.keeps_body || !self.strict.in_body() {
            // The next request is not this hyper's; whoever drives it looks whether it is done.
            return Poll::Pending;
        }
        if self.has_begun() {
            let waiting = std::mem::take(&mut self.waiting);
            let fitting = waiting.len().min(buffer.remaining());
            let good = self.judge(&waiting[..fitting]);
            buffer.put_slice(&waiting[..good]);
            self.waiting = waiting;
            self.waiting.drain(..good);
            return Poll::Ready(Ok(()));
        }
        if self.end.is_some() {
            // For hyper, the client has closed.
            return Poll::Ready(Ok(()));
        }
        self.read_through(context, buffer)
    }

    /// Reads into hyper's own memory, and takes out again what does not belong to the body.
    fn read_through(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        if let Err(error) = ready!(Pin::new(&mut self.stream).poll_read(context, buffer)) {
            self.end = Some(End::Closed);
            return Poll::Ready(Err(error));
        }
        let fresh = &buffer.filled()[before..];
        if fresh.is_empty() {
            self.end = Some(End::Closed);
            return Poll::Ready(Ok(()));
        }
        let good = self.judge(fresh);
        self.waiting.extend_from_slice(&fresh[good..]);
        buffer.set_filled(before + good);
        Poll::Ready(Ok(()))
    }
}

impl<S: Socket> Wire<S> {
    /// Writes some of these bytes.
    pub(crate) fn poll_send(
        &mut self,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.take_file(false);
        let stream = Pin::new(&mut self.stream);
        let sent = match slices {
            // One system call is a little cheaper than the other.
            [only] => stream.poll_write(context, only),
            _ => stream.poll_write_vectored(context, slices),
        };
        self.note_write(sent)
    }

    /// Notes how a write went. When the client takes something again, the time for its next request begins anew.
    fn note_write(&mut self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match (result.is_pending(), &mut self.behind) {
            (false, None) => {}
            (true, Some(behind)) => behind.writing = true,
            (true, None) => {
                self.behind = Some(Behind::new(true, self.stream.untaken(self.untaken)))
            }
            (false, Some(_)) => self.catch_up(),
        }
        result
    }

    fn catch_up(&mut self) {
        self.behind = None;
        match self.clock.get() {
            Phase::Idle(_) => self.clock.set(Phase::Idle(clock::now())),
            Phase::Head(_) => self.clock.set(Phase::Head(clock::now())),
            _ => {}
        }
    }

    /// A client that has not taken what there is for it, as of now or not long ago; it may take nothing for at `most` so
    /// long.
    pub(crate) fn behind(&mut self, most: Duration) -> Option<Behind> {
        if let Some(behind) = &mut self.behind
            && behind.is_to_be_looked_at(most)
        {
            let untaken = self.stream.untaken(self.untaken);
            behind.look(untaken);
            if untaken == 0 && !behind.writing {
                self.catch_up();
            }
        }
        self.behind
    }

    /// Whether the kernel still has something for a client that seems to be idle. What becomes of it is seen to from then
    /// on.
    pub(crate) fn is_still_taken(&mut self) -> bool {
        let untaken = self.stream.untaken(self.untaken);
        if untaken > 0 && self.behind.is_none() {
            self.behind = Some(Behind::new(false, untaken));
        }
        untaken > 0
    }

    /// Has the socket take as much as is right for a file, or for memory.
    fn take_file(&mut self, is_file: bool) {
        if std::mem::replace(&mut self.takes_file, is_file) != is_file {
            let bytes = if is_file { UNSENT_OF_FILE } else { UNSENT };
            self.stream.take_ahead(bytes);
        }
    }

    /// Ends the connection so that no answer on it looks complete that has no length of its own.
    pub(crate) fn fail(&self) {
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
        let is_file = !wire.holes.are_none();
        wire.take_file(is_file);
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
