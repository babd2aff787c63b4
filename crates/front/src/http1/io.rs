//! Input and output of a connection. Input is parsed strictly before it is used. While a request waits or runs,
//! input is read ahead, so that a closed connection is noticed.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll, ready};

use bytes::BufMut;
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};
use tokio::time::Instant;
use tracing::debug;

use crate::context::Context;
use crate::http::parse::{Fault, HeadIndex, Parser};
use crate::http::{FilePiece, RequestHead};
use crate::net::{Pace, SlowReader, Stream};
use crate::timing::Phase;

/// Bytes that are read ahead while a request is served.
const AHEAD: usize = 8 * 1024;
/// Bytes of one read of a head.
const HEAD_PIECE: usize = 4 * 1024;
/// Bytes of one read of a body of unknown length.
const BODY_PIECE: usize = 16 * 1024;

/// A stream and its state.
#[derive(Debug)]
pub(crate) struct Http1Io<S> {
    stream: S,
    context: Rc<Context>,
    pub(crate) phase: Phase,
    parser: Parser,
    /// Bytes that were read and not yet consumed.
    waiting: Vec<u8>,
    /// Why nothing more is read.
    end: Option<End>,
    /// Set while the client is slow to read.
    reader: Option<SlowReader>,
    /// How fast the client has read the current response, if it has been slow before.
    pace: Option<Pace>,
    /// Bytes written to the kernel.
    sent: u64,
    /// The stream is set to buffer as much as for a file.
    takes_file: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The client has closed its sending side; it may still read.
    Closed,
    /// The body violates its framing.
    Broken,
}

impl<S> Http1Io<S> {
    pub(crate) fn new(stream: S, begun: Vec<u8>, context: Rc<Context>) -> Self {
        Self {
            stream,
            phase: Phase::First(context.clock.now()),
            parser: Parser::new(context.limits),
            context,
            waiting: begun,
            end: None,
            reader: None,
            pace: None,
            sent: 0,
            takes_file: false,
        }
    }

    /// A part of a request has been received and not yet consumed.
    pub(crate) fn has_begun(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The received part of a request line that is not yet consumed.
    pub(crate) fn request_line(&self) -> &[u8] {
        let empty_lines = |byte: &&u8| matches!(byte, b'\r' | b'\n');
        let skipped = self.waiting.iter().take_while(empty_lines).count();
        let line = &self.waiting[skipped..];
        let end = line.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
        &line[..end.unwrap_or(line.len())]
    }

    /// Remaining bytes of the body, when the length is known.
    pub(crate) fn body_left(&self) -> Option<u64> {
        self.parser.left()
    }

    /// Whether the body is not complete yet.
    pub(crate) fn in_body(&self) -> bool {
        self.parser.in_body()
    }

    /// Further input may come that is never read. Closing the connection now would reset it, and the client would
    /// lose the part of the response that it has not read yet.
    pub(crate) fn has_rest(&self) -> bool {
        self.end != Some(End::Closed) && (self.parser.in_body() || self.has_begun())
    }

    fn now(&self) -> Instant {
        self.context.clock.now()
    }

    /// Decodes the next piece of a body from `waiting`, and appends the content to `data`.
    fn decode(&mut self, data: &mut Vec<u8>) {
        let good = self
            .parser
            .body(&self.waiting, |piece| data.extend_from_slice(piece));
        if good.fault.is_some() {
            self.end = Some(End::Broken);
        }
        self.waiting.drain(..good.bytes);
        if self.waiting.is_empty() && self.waiting.capacity() > HEAD_PIECE {
            self.waiting = Vec::new();
        }
    }
}

impl<S: AsyncRead + Unpin> Http1Io<S> {
    /// Reads the next head. Without a fault, `None` means that the client has closed.
    pub(crate) fn poll_head(
        &mut self,
        context: &mut TaskContext<'_>,
    ) -> Poll<Result<RequestHead, Option<Fault>>> {
        loop {
            if self.has_begun() {
                match self.parser.head(&self.waiting) {
                    Ok(None) => {
                        if let Phase::Idle(_) = self.phase {
                            self.phase = Phase::Head(self.now());
                        }
                    }
                    Ok(Some(index)) => return Poll::Ready(Ok(self.take_head(index))),
                    Err(fault) => return Poll::Ready(Err(Some(fault))),
                }
            }
            if self.end.is_none() {
                match ready!(self.read_more::<HEAD_PIECE>(context)) {
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

    fn take_head(&mut self, index: HeadIndex) -> RequestHead {
        // An idle connection keeps no buffer.
        let replacement = match self.waiting.len() {
            length if length == index.length => Vec::new(),
            _ => self.waiting.split_off(index.length),
        };
        self.pace = None;
        RequestHead::new(std::mem::replace(&mut self.waiting, replacement), index)
    }

    /// Reads on in a body of known length; `body` holds the part read so far. An error means that the rest will not
    /// come.
    pub(crate) fn poll_body_of(
        &mut self,
        context: &mut TaskContext<'_>,
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
        self.parser.body(&body[before..], |_| {});
        Poll::Ready(Ok(()))
    }

    /// Reads on in a body of any framing, and appends its content to `data`. An error means that the rest will not
    /// come.
    pub(crate) fn poll_body(
        &mut self,
        context: &mut TaskContext<'_>,
        data: &mut Vec<u8>,
    ) -> Poll<io::Result<()>> {
        if !self.has_begun()
            && self.end.is_none()
            && let Err(error) = ready!(self.read_more::<BODY_PIECE>(context))
        {
            debug!(%error, "the client has gone");
            self.end = Some(End::Closed);
        }
        if self.has_begun() && self.end != Some(End::Broken) {
            self.decode(data);
        }
        match self.end {
            Some(End::Broken) => Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
            Some(End::Closed) if self.in_body() && !self.has_begun() => {
                Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()))
            }
            _ => Poll::Ready(Ok(())),
        }
    }

    /// Reads ahead while nothing else reads. An error means that the client has gone.
    pub(crate) fn look_ahead(&mut self, context: &mut TaskContext<'_>) -> io::Result<()> {
        while self.end.is_none() && !self.parser.in_body() && self.waiting.len() < AHEAD {
            match self.read_more::<HEAD_PIECE>(context) {
                Poll::Pending => break,
                Poll::Ready(read) => read?,
            }
        }
        Ok(())
    }

    /// Reads and discards input until the client closes.
    pub(crate) async fn discard(&mut self) {
        // The buffer is on the stack of `poll`: inside the future it would occupy memory for the whole life of each
        // connection.
        poll_fn(|context| {
            loop {
                let mut bytes = [MaybeUninit::uninit(); HEAD_PIECE];
                let mut buffer = ReadBuf::uninit(&mut bytes);
                let read = ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer));
                if read.is_err() || buffer.filled().is_empty() {
                    return Poll::Ready(());
                }
            }
        })
        .await;
    }

    /// Reads at most `PIECE` bytes into `waiting`.
    fn read_more<const PIECE: usize>(
        &mut self,
        context: &mut TaskContext<'_>,
    ) -> Poll<io::Result<()>> {
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
}

impl<S: Stream> Http1Io<S> {
    /// Writes all bytes of these slices in order.
    ///
    /// # Errors
    /// When the client has gone.
    pub(crate) fn poll_write_all(
        &mut self,
        context: &mut TaskContext<'_>,
        slices: &mut &mut [IoSlice<'_>],
    ) -> Poll<io::Result<()>> {
        // Skips empty slices at the start.
        IoSlice::advance_slices(slices, 0);
        while !slices.is_empty() {
            self.prepare_for_file(false);
            let stream = Pin::new(&mut self.stream);
            let sent = match &**slices {
                // `write` is a little cheaper than `writev`.
                [only] => stream.poll_write(context, only),
                several => stream.poll_write_vectored(context, several),
            };
            match ready!(self.note_write(sent))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => IoSlice::advance_slices(slices, sent),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Sends the rest of a piece of a file, and advances its beginning.
    ///
    /// # Errors
    /// When the client has gone, and when the file has become shorter ([`io::ErrorKind::UnexpectedEof`]). For a
    /// stream that cannot send files: [`io::ErrorKind::Unsupported`].
    pub(crate) fn poll_send_file(
        &mut self,
        context: &mut TaskContext<'_>,
        piece: &mut FilePiece,
    ) -> Poll<io::Result<()>> {
        while piece.length > 0 {
            self.prepare_for_file(true);
            let sent = self
                .stream
                .poll_send_file(context, piece.file.file(), piece.offset, piece.length)
                .unwrap_or_else(|| Poll::Ready(Err(io::ErrorKind::Unsupported.into())));
            match ready!(self.note_write(sent))? {
                0 => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                sent => {
                    piece.offset += sent as u64;
                    piece.length -= sent;
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Notes the result of a write. When the client reads again, the time for its next request starts anew.
    fn note_write(&mut self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(sent)) = result {
            self.sent += sent as u64;
        }
        match (result.is_pending(), &mut self.reader) {
            (false, None) => {}
            (true, Some(reader)) => reader.writing = true,
            (true, None) => self.wait_for_reader(true, self.untaken()),
            (false, Some(_)) => self.catch_up(),
        }
        result
    }

    fn wait_for_reader(&mut self, writing: bool, untaken: usize) {
        let (pace, now) = (self.pace, self.now());
        self.reader = Some(SlowReader::new(writing, self.sent, untaken, pace, now));
    }

    fn catch_up(&mut self) {
        let now = self.now();
        self.pace = self.reader.take().map(|reader| reader.pace(now));
        match self.phase {
            Phase::Idle(_) => self.phase = Phase::Idle(self.now()),
            Phase::Head(_) => self.phase = Phase::Head(self.now()),
            _ => {}
        }
    }

    fn untaken(&self) -> usize {
        self.stream.untaken(self.context.untaken)
    }

    /// The state of a client that is slow to read, now or shortly before.
    pub(crate) fn slow_reader(&mut self) -> Option<SlowReader> {
        let (now, most) = (self.now(), self.context.settings.send_timeout);
        if self
            .reader
            .is_some_and(|reader| reader.needs_check(most, now))
        {
            let untaken = self.untaken();
            if let Some(reader) = &mut self.reader {
                reader.look(untaken, now);
                if untaken == 0 && !reader.writing {
                    self.catch_up();
                }
            }
        }
        self.reader
    }

    /// Whether the kernel still holds unsent data of a client that seems idle. From then on its progress is
    /// watched.
    pub(crate) fn is_still_taken(&mut self) -> bool {
        let untaken = self.untaken();
        if untaken > 0 && self.reader.is_none() {
            self.wait_for_reader(false, untaken);
        }
        untaken > 0
    }

    /// Sets how much the stream buffers: for a file, or for memory.
    fn prepare_for_file(&mut self, is_file: bool) {
        if std::mem::replace(&mut self.takes_file, is_file) != is_file {
            self.stream.prepare_for_file(is_file);
        }
    }

    /// Ends the connection by a reset, so that no response without a length of its own looks complete.
    pub(crate) fn fail(&self) {
        self.stream.close_as_failed();
    }

    /// Closes the sending side.
    pub(crate) async fn shut_down(&mut self) -> io::Result<()> {
        tokio::io::AsyncWriteExt::shutdown(&mut self.stream).await
    }
}
