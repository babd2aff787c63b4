//! The head of a response, and the framing of its body (RFC 9112 sections 4 to 6). The only place that writes HTTP/1.
//!
//! It uses nothing of the front but the check of the head, so that it can be fuzzed by itself.

use std::io::Write;

use exchange::Head;

use crate::http::response_head::{Unspeakable, check, has_length};

/// What a request says about the form of its response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RequestTraits {
    pub(crate) is_http10: bool,
    /// The method is HEAD: the response has no body.
    pub(crate) is_head: bool,
    /// The connection may persist.
    pub(crate) persists: bool,
}

/// What the connection that a head cannot be read from is told.
pub(crate) const UNREAD: RequestTraits = RequestTraits {
    is_http10: false,
    is_head: false,
    persists: false,
};

/// The form that a response has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Form {
    pub(crate) framing: Framing,
    /// The connection persists behind it.
    pub(crate) persists: bool,
}

/// How a client knows where the body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// There is none, whatever the fields say.
    NoBody,
    /// It has so many bytes.
    Length(u64),
    Chunked,
    /// The connection ends with it.
    Close,
}

/// Appends a head, with the fields as they are given, and those that are ours behind them. `length` is that of the body,
/// when it is known; `date` appends the time.
///
/// # Errors
/// When HTTP cannot say it; then some of it has been written.
pub(crate) fn head(
    head: &Head<'_>,
    length: Option<u64>,
    traits: RequestTraits,
    date: impl FnOnce(&mut Vec<u8>),
    out: &mut Vec<u8>,
) -> Result<Form, Unspeakable> {
    // A client that speaks HTTP/1.0 may take a later version for something else.
    let version: &[u8] = if traits.is_http10 {
        b"HTTP/1.0 "
    } else {
        b"HTTP/1.1 "
    };
    out.extend_from_slice(version);
    push_number(u64::from(head.status), out);
    for piece in [b" ", head.reason, b"\r\n"] {
        out.extend_from_slice(piece);
    }
    let said = check(head, |name, value| {
        for piece in [name, b": ", value, b"\r\n"] {
            out.extend_from_slice(piece);
        }
    })?;
    if !said.date {
        out.extend_from_slice(b"Date: ");
        date(out);
        out.extend_from_slice(b"\r\n");
    }
    let framing = match (said.length, length) {
        _ if traits.is_head || matches!(head.status, 204 | 304) => Framing::NoBody,
        (Some(length), _) | (None, Some(length)) => Framing::Length(length),
        (None, None) if traits.is_http10 => Framing::Close,
        (None, None) => Framing::Chunked,
    };
    match (framing, said.length, length) {
        (Framing::Length(length), None, _) => push_length(length, out),
        // As the response to GET would have it. A response to HEAD without a body says nothing about that.
        (Framing::NoBody, None, Some(1..)) if traits.is_head && has_length(head.status) => {
            push_length(length.unwrap_or_default(), out);
        }
        (Framing::Chunked, ..) => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        _ => {}
    }
    let persists = traits.persists && framing != Framing::Close;
    match (persists, traits.is_http10) {
        (false, _) => out.extend_from_slice(b"Connection: close\r\n"),
        (true, true) => out.extend_from_slice(b"Connection: keep-alive\r\n"),
        (true, false) => {}
    }
    out.extend_from_slice(b"\r\n");
    Ok(Form { framing, persists })
}

fn push_length(length: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(b"Content-Length: ");
    push_number(length, out);
    out.extend_from_slice(b"\r\n");
}

/// Appends a number in decimal digits.
fn push_number(number: u64, out: &mut Vec<u8>) {
    if number >= 10 {
        push_number(number / 10, out);
    }
    out.push(b'0' + u8::try_from(number % 10).unwrap_or_default());
}

/// Appends what stands before the data of a chunk of so many bytes, which is not 0.
pub(crate) fn chunk_begin(length: usize, out: &mut Vec<u8>) {
    // A vector takes all that it is given.
    let _ = write!(out, "{length:X}\r\n");
}

/// What stands behind the data of a chunk.
pub(crate) const CHUNK_END: &[u8] = b"\r\n";

/// What ends a chunked body.
pub(crate) const LAST_CHUNK: &[u8] = b"0\r\n\r\n";
