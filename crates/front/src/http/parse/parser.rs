//! The parser of one connection.

use super::chunked::Chunked;
use super::fault::{Fault, Limits};
use super::head::{Framing, Head, HeadIndex, Memo};

/// The result of reading a piece of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Good {
    /// How many bytes belong to the body.
    pub(crate) bytes: usize,
    /// The error after these bytes.
    pub(crate) fault: Option<Fault>,
}

/// The parser of one connection.
#[derive(Debug)]
pub(crate) struct Parser {
    limits: Limits,
    at: At,
    memo: Memo,
}

#[derive(Debug)]
enum At {
    Head(Head),
    /// In a body of known length; this many bytes remain, never 0.
    Body(u64),
    Chunked(Chunked),
}

impl Parser {
    /// The state at the beginning of a connection.
    #[must_use]
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            at: At::Head(Head::default()),
            memo: Memo::default(),
        }
    }

    /// Reads on in a head, which is at the start of `bytes`. While it is incomplete, call again with the same bytes
    /// and more. Nothing may be read after a fault.
    pub(crate) fn head(&mut self, bytes: &[u8]) -> Result<Option<HeadIndex>, Fault> {
        let At::Head(head) = &mut self.at else {
            return Ok(None);
        };
        let Some((index, framing)) = head.read(bytes, &self.limits, &mut self.memo)? else {
            return Ok(None);
        };
        self.at = match framing {
            Framing::Length(0) => At::Head(Head::default()),
            Framing::Length(length) => At::Body(length),
            Framing::Chunked => At::Chunked(Chunked::default()),
        };
        Ok(Some(index))
    }

    /// Reads on in a body, as far as it goes, and calls `data` with the content without the framing. Nothing may be
    /// read after a fault.
    pub(crate) fn body(&mut self, bytes: &[u8], mut data: impl FnMut(&[u8])) -> Good {
        let mut good = 0;
        let fault = loop {
            let rest = &bytes[good..];
            if rest.is_empty() || !self.in_body() {
                break None;
            }
            match self.step(rest) {
                Ok((read, is_data)) => {
                    if is_data {
                        data(&rest[..read]);
                    }
                    good += read;
                }
                Err(fault) => break Some(fault),
            }
        };
        Good { bytes: good, fault }
    }

    /// Whether a body has begun and has not ended.
    #[must_use]
    pub(crate) fn in_body(&self) -> bool {
        !matches!(self.at, At::Head(_))
    }

    /// Remaining bytes of a body whose length is known.
    #[must_use]
    pub(crate) fn left(&self) -> Option<u64> {
        match self.at {
            At::Head(_) => Some(0),
            At::Body(left) => Some(left),
            At::Chunked(_) => None,
        }
    }

    /// How many of the next bytes (at least one is given) belong to one element of the body, and whether they are
    /// content.
    fn step(&mut self, bytes: &[u8]) -> Result<(usize, bool), Fault> {
        let (read, is_data, over) = match &mut self.at {
            At::Head(_) => (0, false, true),
            At::Body(left) => {
                let read = usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
                *left -= read as u64;
                (read, true, *left == 0)
            }
            At::Chunked(chunked) => {
                let is_data = chunked.is_in_data();
                let read = chunked.read(bytes, &self.limits)?;
                (read, is_data, chunked.is_over())
            }
        };
        if over {
            self.at = At::Head(Head::default());
        }
        Ok((read, is_data))
    }
}
