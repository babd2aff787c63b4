//! Sends a response to its client.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::task::Poll;

use tracing::{debug, error};

use super::encode::{self, CHUNK_END, Form, Framing, LAST_CHUNK, RequestTraits};
use super::io::Http1Io;
use crate::access_log::Record;
use crate::context::Context;
use crate::http::{ErrorResponse, FilePiece, Piece, Response};
use crate::memory::{FREE, Share};
use crate::net::Stream;

/// Pieces up to this size in bytes are copied into one buffer, to save system calls.
const COPIED: usize = 16 * 1024;
/// Bytes of available pieces that are collected before they are written.
const COLLECTED: usize = 64 * 1024;

/// How sending a response ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// The kernel has accepted all of it.
    Whole(Form),
    /// The application or its child failed, or the body does not match the head.
    Broken,
    ClientGone,
}

/// Sends a response and updates `record`. `begun` is called with its form before anything is sent.
pub(super) async fn send<S: Stream>(
    io: &RefCell<Http1Io<S>>,
    context: &Context,
    response: Response,
    traits: RequestTraits,
    begun: impl FnOnce(Form),
    record: &mut Option<Record>,
) -> Sent {
    let mut out = context.take_scratch();
    let (response, form) = encode(response, traits, context, &mut out);
    begun(form);
    if let Some(record) = record {
        record.answered(&response);
    }
    let mut message = Message {
        io,
        context,
        out,
        form,
        left: match form.framing {
            Framing::Length(length) => length,
            _ => u64::MAX,
        },
        record,
    };
    let sent = message.send(response).await;
    let Message { out, record, .. } = message;
    context.give_scratch(out);
    match sent {
        Ok(true) => {
            if let Some(record) = record {
                record.complete();
            }
            Sent::Whole(form)
        }
        Ok(false) => Sent::Broken,
        Err(error) => {
            debug!(%error, "the client has gone");
            Sent::ClientGone
        }
    }
}

/// Encodes the head of the response, or of an error response in its place when the head is invalid.
fn encode(
    response: Response,
    traits: RequestTraits,
    context: &Context,
    out: &mut Vec<u8>,
) -> (Response, Form) {
    let mut write = |response: &Response| {
        out.clear();
        let head = response.head()?;
        let date = |out: &mut Vec<u8>| context.date.write(out);
        encode::head(&head, response.length(), traits, date, out)
    };
    match write(&response) {
        Ok(form) => (response, form),
        Err(unspeakable) => {
            error!(what = %unspeakable, "the application's head cannot be sent");
            let response = ErrorResponse::ApplicationFailed.response();
            let form = write(&response).expect("its head is ours");
            (response, form)
        }
    }
}

/// A response that is being sent.
struct Message<'m, S> {
    io: &'m RefCell<Http1Io<S>>,
    context: &'m Context,
    /// The bytes to be written next.
    out: Vec<u8>,
    form: Form,
    /// Bytes of the body that the announced length still allows.
    left: u64,
    record: &'m mut Option<Record>,
}

impl<S: Stream> Message<'_, S> {
    /// Sends the response, whose head is in `out`. Returns whether the body matches the head.
    ///
    /// # Errors
    /// When the client has gone.
    async fn send(&mut self, response: Response) -> io::Result<bool> {
        if self.form.framing == Framing::NoBody {
            self.flush(Vec::new(), 0).await?;
            return Ok(true);
        }
        let (begin, from, mut rest) = response.into_parts();
        if begin.len() > from && !self.push(begin, from).await? {
            self.flush(Vec::new(), 0).await?;
            return Ok(false);
        }
        loop {
            let is_empty = self.out.is_empty();
            let next = |task: &mut std::task::Context<'_>| match rest.poll_next(task) {
                Poll::Ready(piece) => Poll::Ready(Some(piece)),
                // Available bytes are written before waiting for more.
                Poll::Pending if !is_empty => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            };
            let goes_on = match poll_fn(next).await {
                None => {
                    self.flush(Vec::new(), 0).await?;
                    true
                }
                Some(Piece::Bytes(bytes)) => self.push(bytes, 0).await?,
                Some(Piece::File(piece)) => self.push_file(piece).await?,
                Some(Piece::End) => return self.finish().await,
                Some(Piece::Broken) => false,
            };
            if !goes_on {
                self.flush(Vec::new(), 0).await?;
                return Ok(false);
            }
        }
    }

    /// Adds a piece of the body, `bytes[from..]`; `false` when the body exceeds the announced length.
    async fn push(&mut self, mut bytes: Vec<u8>, from: usize) -> io::Result<bool> {
        let length = bytes.len() - from;
        let fitting = usize::try_from(self.left).map_or(length, |left| left.min(length));
        bytes.truncate(from + fitting);
        self.begin_piece(fitting);
        if fitting > COPIED {
            self.flush(bytes, from).await?;
        } else {
            self.out.extend_from_slice(&bytes[from..]);
            drop(bytes);
        }
        self.end_piece();
        if self.out.len() >= COLLECTED {
            self.flush(Vec::new(), 0).await?;
        }
        Ok(fitting == length)
    }

    /// Adds a piece from a file, likewise.
    async fn push_file(&mut self, mut piece: FilePiece) -> io::Result<bool> {
        let fitting =
            usize::try_from(self.left).map_or(piece.length, |left| left.min(piece.length));
        let has_surplus = fitting < piece.length;
        piece.length = fitting;
        self.begin_piece(fitting);
        self.flush(Vec::new(), 0).await?;
        let sent = poll_fn(|task| self.io.borrow_mut().poll_send_file(task, &mut piece)).await;
        match sent {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Unsupported => match piece.read() {
                Ok(bytes) => self.flush(bytes, 0).await?,
                Err(error) => return Ok(unreadable(&error)),
            },
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Ok(unreadable(&error));
            }
            Err(error) => return Err(error),
        }
        self.end_piece();
        Ok(!has_surplus)
    }

    /// Begins a chunk of `length` bytes, if the body is chunked.
    fn begin_piece(&mut self, length: usize) {
        if let Some(record) = self.record {
            record.sent(length);
        }
        self.left -= length as u64;
        if self.form.framing == Framing::Chunked {
            encode::chunk_begin(length, &mut self.out);
        }
    }

    fn end_piece(&mut self) {
        if self.form.framing == Framing::Chunked {
            self.out.extend_from_slice(CHUNK_END);
        }
    }

    /// Ends the body; `false` when it is shorter than announced.
    async fn finish(&mut self) -> io::Result<bool> {
        if self.form.framing == Framing::Chunked {
            self.out.extend_from_slice(LAST_CHUNK);
        }
        self.flush(Vec::new(), 0).await?;
        Ok(!matches!(self.form.framing, Framing::Length(_)) || self.left == 0)
    }

    /// Writes the collected bytes, and then `more[from..]`. What the client does not read goes into a file when
    /// there is no memory for it.
    async fn flush(&mut self, more: Vec<u8>, from: usize) -> io::Result<()> {
        let mut slices = [IoSlice::new(&self.out), IoSlice::new(&more[from..])];
        let mut slices = match &more[from..] {
            [] => &mut slices[..1],
            _ => &mut slices[..],
        };
        // Unwritten bytes count against the memory budget while they wait for the client.
        let mut share = None;
        let write = |task: &mut std::task::Context<'_>| {
            let written = self.io.borrow_mut().poll_write_all(task, &mut slices);
            if let Poll::Ready(written) = written {
                return Poll::Ready(written.map(|()| true));
            }
            if share.is_none() {
                let share = share.insert(self.context.memory.share());
                if !share.hold(slices.iter().map(|slice| slice.len()).sum()) {
                    return Poll::Ready(Ok(false));
                }
            }
            Poll::Pending
        };
        if !poll_fn(write).await? {
            let mut left = Vec::new();
            slices
                .iter()
                .for_each(|slice| left.extend_from_slice(slice));
            drop((more, std::mem::take(&mut self.out)));
            self.put_aside(left, share).await?;
        }
        self.out.clear();
        Ok(())
    }

    /// Writes these bytes from a file, so that they need no memory while the client is slow, or from memory where
    /// the file fails.
    async fn put_aside(&self, bytes: Vec<u8>, share: Option<Share>) -> io::Result<()> {
        let length = bytes.len();
        let (bytes, file) = self.context.disk.write(None, 0, bytes).await;
        let Ok(file) = file else {
            return self.write_all(&bytes).await;
        };
        drop((bytes, share));
        let mut piece = FilePiece {
            file,
            offset: 0,
            length,
        };
        let sent = poll_fn(|task| self.io.borrow_mut().poll_send_file(task, &mut piece)).await;
        match sent {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {}
            sent => return sent,
        }
        while piece.length > 0 {
            let bytes = piece.read_begin(FREE)?;
            self.write_all(&bytes).await?;
        }
        Ok(())
    }

    async fn write_all(&self, bytes: &[u8]) -> io::Result<()> {
        let mut slices = [IoSlice::new(bytes)];
        let mut slices = &mut slices[..];
        poll_fn(|task| self.io.borrow_mut().poll_write_all(task, &mut slices)).await
    }
}

fn unreadable(error: &io::Error) -> bool {
    error!(%error, "the file of an answer cannot be read");
    false
}
