//! Checks of a response's head for any version of HTTP. The child has checked it already, but the front does not
//! trust another process.

use std::fmt;

use exchange::{Head, Malformed, syntax};

/// Why a head cannot be expressed in HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unspeakable {
    /// It cannot be decoded.
    Malformed,
    /// An informational status, or not a number of three digits.
    Status(u16),
    /// An invalid character in the reason phrase.
    Reason,
    /// An invalid name or value of a field.
    Field,
    /// Content-Length is not a number, or is repeated.
    Length,
}

/// Field values that the front needs itself.
#[derive(Debug, Default)]
pub(crate) struct KnownFields {
    /// There is a Date field.
    pub(crate) date: bool,
    /// The value of Content-Length.
    pub(crate) length: Option<u64>,
}

/// Whether a response with this status may have Content-Length (RFC 9110 section 8.6).
pub(crate) fn has_length(status: u16) -> bool {
    status != 204
}

/// Checks a head, and calls `each` with its fields in order.
///
/// Connection-specific fields are left out, because they are the server's (RFC 9110 section 7.6.1).
///
/// # Errors
/// When the head is invalid; `each` may then have been called for some fields.
pub(crate) fn check(
    head: &Head<'_>,
    mut each: impl FnMut(&[u8], &[u8]),
) -> Result<KnownFields, Unspeakable> {
    if !(200..=999).contains(&head.status) {
        return Err(Unspeakable::Status(head.status));
    }
    if !syntax::is_value(head.reason) {
        return Err(Unspeakable::Reason);
    }
    let mut known = KnownFields::default();
    for (name, value) in head.headers.iter() {
        if !syntax::is_name(name) || !syntax::is_value(value) {
            return Err(Unspeakable::Field);
        }
        let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
        match name.len() {
            4 if is(b"date") => known.date = true,
            10 if is(b"connection") || is(b"keep-alive") => continue,
            14 if is(b"content-length") => {
                let length = number(value).ok_or(Unspeakable::Length)?;
                match known.length.replace(length) {
                    None if has_length(head.status) => {}
                    None => continue,
                    Some(former) if former == length => continue,
                    Some(_) => return Err(Unspeakable::Length),
                }
            }
            17 if is(b"transfer-encoding") => continue,
            _ => {}
        }
        each(name, value);
    }
    Ok(known)
}

/// A number of digits only (RFC 9110 section 8.6).
fn number(value: &[u8]) -> Option<u64> {
    let digits = value.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(value)
        .ok()
        .filter(|_| digits)?
        .parse()
        .ok()
}

impl From<Malformed> for Unspeakable {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

impl fmt::Display for Unspeakable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => Malformed.fmt(f),
            Self::Status(status) => write!(f, "status {status}"),
            Self::Reason => f.write_str("a character in the reason phrase"),
            Self::Field => f.write_str("a character in a field"),
            Self::Length => f.write_str("a Content-Length that is no number, or several"),
        }
    }
}

impl std::error::Error for Unspeakable {}
