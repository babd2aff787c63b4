//! The way of a response to its client.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::task::Poll;

use tracing::{debug, error};

use super::encode::{self, Asked, CHUNK_END, Form, Framing, LAST_CHUNK};
use super::io::Http1Io;
use crate::access_log::Record;
use crate::context::Context;
use crate::http::{ErrorResponse, FilePiece, Piece, Response};
use crate::net::Stream;

/// Pieces up to this size are copied behind those before them, so that the kernel is given one piece.
const COPIED: usize = 16 * 1024;
/// Bytes that are collected of a response that is there.
const COLLECTED: usize = 64 * 1024;

/// How the sending of a response has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// The kernel has all of it.
    Whole(Form),
    /// The application, or its child, did not finish it, or it is not what its head says.
    Broken,
    ClientGone,
}

/// Sends a response, and has `record` know of it. `begun` is called with its form before anything is sent.
pub(super) async fn send<S: Stream>(
    io: &RefCell<Http1Io<S>>,
    context: &Context,
    response: Response,
    asked: Asked,
    begun: impl FnOnce(Form),
    record: &mut Option<Record>,
) -> Sent {
    let mut out = context.take_scratch();
    let (response, form) = encode(response, asked, context, &mut out);
    begun(form);
    if let Some(record) = record {
        record.answered(&response);
    }
    let mut message = Message {
        io,
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

/// Writes the head of the response, or of that which takes its place when it has none that HTTP can say.
fn encode(
    response: Response,
    asked: Asked,
    context: &Context,
    out: &mut Vec<u8>,
) -> (Response, Form) {
    let mut write = |response: &Response| {
        out.clear();
        let head = response.head()?;
        let date = |out: &mut Vec<u8>| context.date.write(out);
        encode::head(&head, response.length(), asked, date, out)
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

/// A response on its way.
struct Message<'m, S> {
    io: &'m RefCell<Http1Io<S>>,
    /// What is written next.
    out: Vec<u8>,
    form: Form,
    /// Bytes that the body may still have.
    left: u64,
    record: &'m mut Option<Record>,
}

impl<S: Stream> Message<'_, S> {
    /// Sends all of it, of which the head is in `out`; tells whether that is what the head says.
    ///
    /// # Errors
    /// When the client has gone.
    async fn send(&mut self, response: Response) -> io::Result<bool> {
        if self.form.framing == Framing::NoBody {
            self.flush(&[]).await?;
            return Ok(true);
        }
        if !response.begin().is_empty() && !self.push(response.begin()).await? {
            self.flush(&[]).await?;
            return Ok(false);
        }
        let mut rest = response.rest;
        loop {
            let is_empty = self.out.is_empty();
            let next = |task: &mut std::task::Context<'_>| match rest.poll_next(task) {
                Poll::Ready(piece) => Poll::Ready(Some(piece)),
                // What there is goes out before more is waited for.
                Poll::Pending if !is_empty => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            };
            let goes_on = match poll_fn(next).await {
                None => {
                    self.flush(&[]).await?;
                    true
                }
                Some(Piece::Bytes(bytes)) => self.push(&bytes).await?,
                Some(Piece::File(piece)) => self.push_file(piece).await?,
                Some(Piece::End) => return self.finish().await,
                Some(Piece::Broken) => false,
            };
            if !goes_on {
                self.flush(&[]).await?;
                return Ok(false);
            }
        }
    }

    /// Adds a piece of the body; `false` when it is more than the head has announced.
    async fn push(&mut self, bytes: &[u8]) -> io::Result<bool> {
        let fitting = usize::try_from(self.left).map_or(bytes.len(), |left| left.min(bytes.len()));
        let (bytes, surplus) = bytes.split_at(fitting);
        self.begin_piece(bytes.len());
        if bytes.len() > COPIED {
            self.flush(bytes).await?;
        } else {
            self.out.extend_from_slice(bytes);
        }
        self.end_piece();
        if self.out.len() >= COLLECTED {
            self.flush(&[]).await?;
        }
        Ok(surplus.is_empty())
    }

    /// The same of a piece of a file.
    async fn push_file(&mut self, mut piece: FilePiece) -> io::Result<bool> {
        let fitting =
            usize::try_from(self.left).map_or(piece.length, |left| left.min(piece.length));
        let has_surplus = fitting < piece.length;
        piece.length = fitting;
        self.begin_piece(fitting);
        self.flush(&[]).await?;
        let sent = poll_fn(|task| self.io.borrow_mut().poll_send_file(task, &mut piece)).await;
        match sent {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Unsupported => match piece.read() {
                Ok(bytes) => self.flush(&bytes).await?,
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

    /// A piece of so many bytes follows.
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

    /// Ends the body; `false` when it is less than the head has announced.
    async fn finish(&mut self) -> io::Result<bool> {
        if self.form.framing == Framing::Chunked {
            self.out.extend_from_slice(LAST_CHUNK);
        }
        self.flush(&[]).await?;
        Ok(!matches!(self.form.framing, Framing::Length(_)) || self.left == 0)
    }

    /// Writes what has been collected, and then these bytes.
    async fn flush(&mut self, more: &[u8]) -> io::Result<()> {
        {
            let mut slices = [IoSlice::new(&self.out), IoSlice::new(more)];
            let mut slices = match more {
                [] => &mut slices[..1],
                _ => &mut slices[..],
            };
            poll_fn(|task| self.io.borrow_mut().poll_write_all(task, &mut slices)).await?;
        }
        self.out.clear();
        Ok(())
    }
}

fn unreadable(error: &io::Error) -> bool {
    error!(%error, "the file of an answer cannot be read");
    false
}
