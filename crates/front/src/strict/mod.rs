//! The strict reading of what a client sends, byte by byte, before hyper sees it.
//!
//! hyper forgives what RFC 9112 lets a recipient forgive: bare line feeds, repeated codings, several Hosts. Two programs
//! that forgive differently see two requests where there is one, which is how requests are smuggled. So each head is
//! handed on only when it is whole and leaves nothing to interpret, and each chunk as far as its framing is right.
//!
//! Nothing here depends on how the bytes were cut on their way: a head is judged line by line, a chunked body byte by
//! byte.

mod chunked;
mod classes;
mod head;
mod host;

use chunked::Chunked;
pub(crate) use classes::is_path;
pub(crate) use head::{Connection, Expects, Outline, Target, split_target};
use head::{Framing, Head, Memo};

/// What bounds a head.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Bytes of the request line.
    pub(crate) line: usize,
    /// Header fields, and trailer fields.
    pub(crate) fields: usize,
    /// Bytes of one field line.
    pub(crate) field: usize,
    /// Bytes of the whole head.
    pub(crate) head: usize,
}

/// Why the connection cannot be read any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is not HTTP, or can be read in two ways.
    Malformed,
    /// The request line is longer than [`Limits::line`].
    LineTooLong,
    /// There are more or longer fields than [`Limits`] say.
    HeadTooLarge,
    /// The version is neither 1.0 nor 1.1 (RFC 9110 section 15.6.6).
    Version,
    /// A transfer coding (RFC 9112 section 6.1) or a method (CONNECT) that is not served.
    NotServed,
}

/// How far a piece of a body is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Good {
    /// So many bytes belong to the body.
    pub(crate) bytes: usize,
    /// What is wrong behind them.
    pub(crate) fault: Option<Fault>,
}

/// The reader of one connection.
#[derive(Debug)]
pub(crate) struct Strict {
    limits: Limits,
    at: At,
    memo: Memo,
}

#[derive(Debug)]
enum At {
    Head(Head),
    /// In a body of known length, so many bytes before its end, never 0.
    Body(u64),
    Chunked(Chunked),
}

impl Strict {
    /// At the beginning of a connection.
    #[must_use]
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            at: At::Head(Head::default()),
            memo: Memo::default(),
        }
    }

    /// Reads on in a head, with which `bytes` begin: what was found incomplete comes again, with more. Gives what it says
    /// once it is whole. Nothing may be read after a fault.
    pub(crate) fn head(&mut self, bytes: &[u8]) -> Result<Option<Outline>, Fault> {
        let At::Head(head) = &mut self.at else {
            return Ok(None);
        };
        let Some((outline, framing)) = head.read(bytes, &self.limits, &mut self.memo)? else {
            return Ok(None);
        };
        self.at = match framing {
            Framing::Length(0) => At::Head(Head::default()),
            Framing::Length(length) => At::Body(length),
            Framing::Chunked => At::Chunked(Chunked::default()),
        };
        Ok(Some(outline))
    }

    /// Reads on in a body, as far as it goes. Nothing may be read after a fault.
    pub(crate) fn body(&mut self, bytes: &[u8]) -> Good {
        let mut good = 0;
        let fault = loop {
            let rest = &bytes[good..];
            if rest.is_empty() || !self.in_body() {
                break None;
            }
            match self.step(rest) {
                Ok(read) => good += read,
                Err(fault) => break Some(fault),
            }
        };
        Good { bytes: good, fault }
    }

    /// Whether a body has begun and not ended.
    #[must_use]
    pub(crate) fn in_body(&self) -> bool {
        !matches!(self.at, At::Head(_))
    }

    /// Bytes before the end of a body whose length is known.
    #[must_use]
    pub(crate) fn left(&self) -> Option<u64> {
        match self.at {
            At::Head(_) => Some(0),
            At::Body(left) => Some(left),
            At::Chunked(_) => None,
        }
    }

    /// How many of the next bytes, of which there is one, belong to one part of a body.
    fn step(&mut self, bytes: &[u8]) -> Result<usize, Fault> {
        let (read, over) = match &mut self.at {
            At::Head(_) => (0, true),
            At::Body(left) => {
                let read = usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
                *left -= read as u64;
                (read, *left == 0)
            }
            At::Chunked(chunked) => {
                let read = chunked.read(bytes, &self.limits)?;
                (read, chunked.is_over())
            }
        };
        if over {
            self.at = At::Head(Head::default());
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests;
