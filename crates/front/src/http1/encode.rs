//! Encodes the head of a response and the framing of its body (RFC 9112 sections 4 to 6). No other file writes
//! HTTP/1.
//!
//! It uses nothing of the front except the check of the head, so that it can be fuzzed alone.

use std::io::Write;

use exchange::Head;

use crate::http::response_head::{Unspeakable, check, has_length};

/// The traits of a request that affect the form of its response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RequestTraits {
    pub(crate) is_http10: bool,
    /// The method is HEAD: the response has no body.
    pub(crate) is_head: bool,
    /// The connection may persist after the response.
    pub(crate) persists: bool,
}

/// The traits assumed for a request whose head could not be read.
pub(crate) const UNREAD: RequestTraits = RequestTraits {
    is_http10: false,
    is_head: false,
    persists: false,
};

/// The form that was chosen for a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Form {
    pub(crate) framing: Framing,
    /// The connection persists after it.
    pub(crate) persists: bool,
}

/// How the client finds the end of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// There is no body, whatever the fields say.
    NoBody,
    /// Content-Length, in bytes.
    Length(u64),
    Chunked,
    /// The end of the connection.
    Close,
}

/// Appends a head: the given fields, then the fields of the server. `length` is the length of the body, when it is
/// known; `date` appends the time.
///
/// # Errors
/// When the head is invalid; a part of it may then have been written.
pub(crate) fn head(
    head: &Head<'_>,
    length: Option<u64>,
    traits: RequestTraits,
    date: impl FnOnce(&mut Vec<u8>),
    out: &mut Vec<u8>,
) -> Result<Form, Unspeakable> {
    // An HTTP/1.0 client may misread a later version.
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
    let known = check(head, |name, value| {
        for piece in [name, b": ", value, b"\r\n"] {
            out.extend_from_slice(piece);
        }
    })?;
    if !known.date {
        out.extend_from_slice(b"Date: ");
        date(out);
        out.extend_from_slice(b"\r\n");
    }
    let framing = match (known.length, length) {
        _ if traits.is_head || matches!(head.status, 204 | 304) => Framing::NoBody,
        (Some(length), _) | (None, Some(length)) => Framing::Length(length),
        (None, None) if traits.is_http10 => Framing::Close,
        (None, None) => Framing::Chunked,
    };
    match (framing, known.length, length) {
        (Framing::Length(length), None, _) => push_length(length, out),
        // The length that GET would have. When the response to HEAD has no body, its length is unknown.
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

/// Appends a number in decimal.
fn push_number(number: u64, out: &mut Vec<u8>) {
    if number >= 10 {
        push_number(number / 10, out);
    }
    out.push(b'0' + u8::try_from(number % 10).unwrap_or_default());
}

/// Appends the chunk header for `length` bytes, which is not 0.
pub(crate) fn chunk_begin(length: usize, out: &mut Vec<u8>) {
    // Writing to a vector does not fail.
    let _ = write!(out, "{length:X}\r\n");
}

/// The end of a chunk.
pub(crate) const CHUNK_END: &[u8] = b"\r\n";

/// The last chunk, which ends a chunked body.
pub(crate) const LAST_CHUNK: &[u8] = b"0\r\n\r\n";
