//! What a head of a response may say in any version of HTTP. What another process wrote is not believed to be what it checked.

use std::fmt;

use exchange::{Head, Malformed, syntax};

/// A head that HTTP cannot say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unspeakable {
    /// It is no head.
    Malformed,
    /// An informational one, or none of three digits.
    Status(u16),
    /// A character that a reason phrase cannot have.
    Reason,
    /// A name or a value of a field.
    Field,
    /// Content-Length is no number, or several.
    Length,
}

/// What the fields of a head say.
#[derive(Debug, Default)]
pub(crate) struct KnownFields {
    /// When the response was made.
    pub(crate) date: bool,
    /// Bytes of its body.
    pub(crate) length: Option<u64>,
}

/// Whether a response of this status may tell the length of its body (RFC 9110 section 8.6).
pub(crate) fn has_length(status: u16) -> bool {
    status != 204
}

/// Checks a head, and hands its fields to `each` in their order.
///
/// Fields about the connection are not the application's, and are left out (RFC 9110 section 7.6.1).
///
/// # Errors
/// When HTTP cannot say it; then some fields have been handed over.
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
    let mut said = KnownFields::default();
    for (name, value) in head.headers.iter() {
        if !syntax::is_name(name) || !syntax::is_value(value) {
            return Err(Unspeakable::Field);
        }
        let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
        match name.len() {
            4 if is(b"date") => said.date = true,
            10 if is(b"connection") || is(b"keep-alive") => continue,
            14 if is(b"content-length") => {
                let length = number(value).ok_or(Unspeakable::Length)?;
                match said.length.replace(length) {
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
    Ok(said)
}

/// Digits alone (RFC 9110 section 8.6).
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
