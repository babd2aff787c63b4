//! A response: a head with its fields in the application's order, and a body in pieces.

use std::fmt;
use std::task::{Context, Poll, ready};

use exchange::{After, Extent, Head, HeaderWriter, Malformed, Part};
use http::StatusCode;
use tracing::error;

use super::file::FileBody;
use super::piece::Piece;

/// A response that has begun.
#[derive(Debug)]
pub(crate) struct Response {
    /// The encoded head, followed by the beginning of the body.
    bytes: Vec<u8>,
    head: usize,
    pub(crate) rest: Rest,
}

/// The source of the rest of the body.
#[derive(Debug)]
pub(crate) enum Rest {
    Nothing,
    /// The application or its child failed: the response must not look complete to the client.
    Broken,
    Parts(Box<dyn Parts>),
    /// Parts that were buffered in a file, followed by further parts.
    Aside(FileBody, Box<dyn Parts>),
    File(FileBody),
}

/// The source of the further parts of a response.
pub(crate) trait Parts: fmt::Debug {
    /// The next one.
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Next>;

    /// The file extent that continues the response, if the last part announced one.
    fn extent(&mut self) -> Option<Extent>;
}

/// The next item of a response.
#[derive(Debug)]
pub(crate) enum Next {
    /// A part.
    Part(Part),
    /// Parts that were buffered in a file.
    File(FileBody),
    /// The child has died.
    Lost,
}

impl Response {
    /// A response whose first part is `part`; `parts` yields the others.
    pub(crate) fn new(part: Part, mut parts: impl Parts + 'static) -> Self {
        let rest = match part.after {
            After::Complete => Rest::Nothing,
            After::Broken => Rest::Broken,
            After::More => Rest::Parts(Box::new(parts)),
            After::File => Rest::of_file(parts.extent()),
        };
        Self {
            bytes: part.bytes,
            head: part.head,
            rest,
        }
    }

    /// A plain text response of the front itself.
    pub(crate) fn text(status: StatusCode, text: String, more: &[(&str, &str)]) -> Self {
        let mut fields = HeaderWriter::default();
        let length = text.len().to_string();
        let usual = [
            ("Content-Type", "text/plain; charset=utf-8"),
            ("Content-Length", &length),
        ];
        for (name, value) in usual.iter().chain(more) {
            fields.push(name.as_bytes(), value.as_bytes());
        }
        let head = Head {
            status: status.as_u16(),
            reason: status.canonical_reason().unwrap_or_default().as_bytes(),
            headers: fields.headers(),
        };
        let mut bytes = Vec::with_capacity(head.encoded_len() + text.len());
        head.encode(&mut bytes);
        let head = bytes.len();
        bytes.extend_from_slice(text.as_bytes());
        Self {
            bytes,
            head,
            rest: Rest::Nothing,
        }
    }

    /// Status and header fields.
    ///
    /// # Errors
    /// When a child has written an invalid head.
    pub(crate) fn head(&self) -> Result<Head<'_>, Malformed> {
        Head::decode(&self.bytes[..self.head])
    }

    /// The beginning of the body, which may be all of it.
    pub(crate) fn begin(&self) -> &[u8] {
        &self.bytes[self.head..]
    }

    /// The bytes, the position in them where the body begins, and the source of the rest.
    pub(crate) fn into_parts(self) -> (Vec<u8>, usize, Rest) {
        (self.bytes, self.head, self.rest)
    }

    /// Length of the whole body in bytes, when it is known.
    pub(crate) fn length(&self) -> Option<u64> {
        let begin = self.begin().len() as u64;
        match &self.rest {
            Rest::Nothing => Some(begin),
            Rest::File(file) => Some(begin + file.left()),
            Rest::Broken | Rest::Parts(_) | Rest::Aside(..) => None,
        }
    }
}

impl Rest {
    fn of_file(extent: Option<Extent>) -> Self {
        match extent.map(FileBody::open) {
            Some(Ok(file)) => Self::File(file),
            Some(Err(error)) => unreadable(&error),
            None => Self::Broken,
        }
    }

    /// Reads this file before the further parts.
    fn read_first(&mut self, file: FileBody) {
        if let Self::Parts(parts) = std::mem::replace(self, Self::Broken) {
            *self = Self::Aside(file, parts);
        }
    }

    /// Continues after the buffered file.
    fn continue_after_file(&mut self) {
        if let Self::Aside(_, parts) = std::mem::replace(self, Self::Broken) {
            *self = Self::Parts(parts);
        }
    }

    /// The next piece of the body. Not to be called after [`Piece::End`] or [`Piece::Broken`].
    pub(crate) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Piece> {
        loop {
            let parts = match self {
                Self::Nothing => return Poll::Ready(Piece::End),
                Self::Broken => return Poll::Ready(Piece::Broken),
                Self::File(file) => match ready!(file.poll_next(context)) {
                    Ok(piece) => return Poll::Ready(piece),
                    Err(error) => {
                        *self = unreadable(&error);
                        continue;
                    }
                },
                Self::Aside(file, _) => {
                    match ready!(file.poll_next(context)) {
                        Ok(Piece::End) => self.continue_after_file(),
                        Ok(piece) => return Poll::Ready(piece),
                        Err(error) => *self = unreadable(&error),
                    }
                    continue;
                }
                Self::Parts(parts) => parts,
            };
            let part = match ready!(parts.poll_next(context)) {
                Next::Part(part) => part,
                Next::File(file) => {
                    self.read_first(file);
                    continue;
                }
                Next::Lost => {
                    *self = Self::Broken;
                    continue;
                }
            };
            match part.after {
                After::More => {}
                After::Complete => *self = Self::Nothing,
                After::Broken => *self = Self::Broken,
                After::File => *self = Self::of_file(parts.extent()),
            }
            if !part.bytes.is_empty() {
                return Poll::Ready(Piece::Bytes(part.bytes));
            }
        }
    }
}

fn unreadable(error: &dyn fmt::Display) -> Rest {
    error!(%error, "the file of an answer cannot be read");
    Rest::Broken
}
