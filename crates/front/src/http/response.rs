//! A response: a head with its fields in the order of the application, and a body that comes in pieces.

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
    /// The encoded head, then the beginning of the body.
    bytes: Vec<u8>,
    head: usize,
    pub(crate) rest: Rest,
}

/// What follows the beginning of a body.
#[derive(Debug)]
pub(crate) enum Rest {
    Nothing,
    /// The application, or its child, did not finish: what the client has must not look complete.
    Broken,
    Parts(Box<dyn Parts>),
    /// The same, behind what has been put aside.
    Aside(FileBody, Box<dyn Parts>),
    File(FileBody),
}

/// Where the further parts of a response come from.
pub(crate) trait Parts: fmt::Debug {
    /// The next one.
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Next>;

    /// The part of a file with which the response goes on, when its last part has said so.
    fn extent(&mut self) -> Option<Extent>;
}

/// What comes next of a response.
#[derive(Debug)]
pub(crate) enum Next {
    /// A part of it.
    Part(Part),
    /// Bytes of it that have been put aside.
    File(FileBody),
    /// Nothing more: the child has died.
    Lost,
}

impl Response {
    /// The response that begins with this part; `parts` has the further ones, if there are any.
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

    /// A text of the front's own.
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

    /// Status and fields.
    ///
    /// # Errors
    /// When a child has written something else.
    pub(crate) fn head(&self) -> Result<Head<'_>, Malformed> {
        Head::decode(&self.bytes[..self.head])
    }

    /// The beginning of the body, or all of it.
    pub(crate) fn begin(&self) -> &[u8] {
        &self.bytes[self.head..]
    }

    /// The bytes of which the body begins at this position, and what follows them.
    pub(crate) fn into_parts(self) -> (Vec<u8>, usize, Rest) {
        (self.bytes, self.head, self.rest)
    }

    /// Bytes of the whole body, when that is known.
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

    /// This comes before the further parts.
    fn read_first(&mut self, file: FileBody) {
        if let Self::Parts(parts) = std::mem::replace(self, Self::Broken) {
            *self = Self::Aside(file, parts);
        }
    }

    /// What has been put aside has been read.
    fn go_on_behind(&mut self) {
        if let Self::Aside(_, parts) = std::mem::replace(self, Self::Broken) {
            *self = Self::Parts(parts);
        }
    }

    /// The next piece of the body. None follows [`Piece::End`] and [`Piece::Broken`].
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
                        Ok(Piece::End) => self.go_on_behind(),
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
