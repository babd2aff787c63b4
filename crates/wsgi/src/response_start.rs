//! The arguments of `start_response`, checked, so that an application's values cannot split or falsify a response.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};

use exchange::{Head, HeaderWriter, syntax};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyList, PyString, PyTuple};
use tracing::warn;

/// Fields that belong to the connection, hence to the server (RFC 2616 section 13.5.1, as PEP 3333 has it).
const HOP_BY_HOP: [&str; 10] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "trailers",
    "transfer-encoding",
    "upgrade",
];

/// Whether one of them has been dropped in this process, which is told once.
static IS_DROPPING: AtomicBool = AtomicBool::new(false);

/// Status and header fields of an answer.
#[derive(Debug, Default)]
pub(crate) struct ResponseStart {
    status: u16,
    reason: Vec<u8>,
    /// All fields; Content-Length is added by `head`.
    headers: HeaderWriter,
    /// Content-Length.
    pub(crate) length: Option<u64>,
}

impl ResponseStart {
    /// Reads the arguments of `start_response`, reusing the memory of a former answer.
    pub(crate) fn check(
        mut self,
        status: &Bound<'_, PyAny>,
        headers: &Bound<'_, PyAny>,
    ) -> PyResult<Self> {
        let text = status
            .cast::<PyString>()
            .map_err(|_| wrong_type("the status must be a str", status))?;
        let bytes = latin1(text)?;
        let (code, reason) = read_status(&bytes).ok_or_else(|| {
            PyValueError::new_err(format!("the status must be like '200 OK', not {text:?}"))
        })?;
        self.status = code;
        self.reason.clear();
        self.reason.extend_from_slice(reason);
        self.headers.clear();
        self.length = None;
        // PEP 3333 wants a list: another iterable may be consumed by this loop.
        let headers = headers
            .cast::<PyList>()
            .map_err(|_| wrong_type("the headers must be a list", headers))?;
        for field in headers {
            self.field(&field)?;
        }
        Ok(self)
    }

    /// An answer of the server's own: one line of text.
    pub(crate) fn plain(status: u16, reason: &str) -> Self {
        let mut headers = HeaderWriter::default();
        headers.push(b"Content-Type", b"text/plain; charset=utf-8");
        Self {
            status,
            reason: reason.as_bytes().to_vec(),
            headers,
            length: None,
        }
    }

    /// Whether a response with this status has a body.
    pub(crate) fn has_body(&self) -> bool {
        !matches!(self.status, 204 | 205 | 304)
    }

    /// The head as it is sent. Called once, since it completes the fields.
    pub(crate) fn head(&mut self) -> Head<'_> {
        let length = match self.status {
            // RFC 9110 section 8.6.
            204 => None,
            // RFC 9110 section 15.3.6: the server states that there is no body.
            205 => Some(0),
            _ => self.length,
        };
        if let Some(length) = length {
            self.headers
                .push(b"Content-Length", length.to_string().as_bytes());
        }
        Head {
            status: self.status,
            reason: &self.reason,
            headers: self.headers.headers(),
        }
    }

    fn field(&mut self, field: &Bound<'_, PyAny>) -> PyResult<()> {
        let pair = field.cast::<PyTuple>().ok().filter(|pair| pair.len() == 2);
        let pair = pair.ok_or_else(|| wrong_type("a header must be a tuple of two str", field))?;
        let (name, value) = (pair.get_borrowed_item(0)?, pair.get_borrowed_item(1)?);
        let name = name
            .cast::<PyString>()
            .map_err(|_| wrong_type("the name of a header must be a str", &name))?;
        let value = value
            .cast::<PyString>()
            .map_err(|_| wrong_type("the value of a header must be a str", field))?;
        let (name_bytes, value_bytes) = (latin1(&name)?, latin1(&value)?);
        if !syntax::is_name(&name_bytes) {
            return Err(PyValueError::new_err(format!(
                "{name:?} is no name of a header"
            )));
        }
        if !syntax::is_value(&value_bytes) {
            return Err(PyValueError::new_err(format!(
                "the value of header {name:?} holds a control character"
            )));
        }
        if name_bytes.eq_ignore_ascii_case(b"content-length") {
            return self.content_length(&value_bytes);
        }
        if HOP_BY_HOP
            .iter()
            .any(|hop| name_bytes.eq_ignore_ascii_case(hop.as_bytes()))
        {
            if !IS_DROPPING.swap(true, Ordering::Relaxed) {
                let name = name.to_string_lossy();
                warn!(header = %name, "the application sets a header of the connection, which is the server's to set: such headers are dropped");
            }
            return Ok(());
        }
        // Spaces around a value are not part of it (RFC 9110 section 5.5).
        self.headers.push(&name_bytes, value_bytes.trim_ascii());
        Ok(())
    }

    fn content_length(&mut self, value: &[u8]) -> PyResult<()> {
        let digits = std::str::from_utf8(value.trim_ascii()).ok();
        let digits = digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
        let length = digits.and_then(|digits| digits.parse().ok());
        let length =
            length.ok_or_else(|| PyValueError::new_err("Content-Length must be a number"))?;
        if *self.length.get_or_insert(length) != length {
            return Err(PyValueError::new_err(
                "two different headers Content-Length",
            ));
        }
        Ok(())
    }
}

/// Reads `200 OK`. An informational status is refused.
fn read_status(text: &[u8]) -> Option<(u16, &[u8])> {
    let (code, rest) = text.split_at_checked(3)?;
    if !code.iter().all(u8::is_ascii_digit) || !syntax::is_value(rest) {
        return None;
    }
    let code = code
        .iter()
        .fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
    let reason = match rest {
        [] => rest,
        [b' ', reason @ ..] => reason,
        _ => return None,
    };
    (code >= 200).then_some((code, reason))
}

/// The bytes of a str of PEP 3333, one for each character.
fn latin1<'a>(text: &'a Bound<'_, PyString>) -> PyResult<Cow<'a, [u8]>> {
    let utf8 = text.to_str().map_err(|_| not_latin1(text))?;
    if utf8.is_ascii() {
        return Ok(Cow::Borrowed(utf8.as_bytes()));
    }
    let bytes: Result<Vec<u8>, _> = utf8.chars().map(u8::try_from).collect();
    bytes.map(Cow::Owned).map_err(|_| not_latin1(text))
}

fn not_latin1(text: &Bound<'_, PyString>) -> PyErr {
    PyValueError::new_err(format!("{text:?} holds a character beyond latin-1"))
}

fn wrong_type(what: &str, value: &Bound<'_, PyAny>) -> PyErr {
    PyTypeError::new_err(format!("{what}, not {value:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_three_digits_and_a_reason() {
        for (text, expected) in [
            ("200 OK", Some((200, "OK"))),
            ("404 Not Found", Some((404, "Not Found"))),
            ("299", Some((299, ""))),
            ("200 ", Some((200, ""))),
            ("200OK", None),
            ("20 OK", None),
            ("100 Continue", None),
            ("200 O\nK", None),
            ("200 O\rK", None),
            ("+20 OK", None),
            ("", None),
        ] {
            let read = read_status(text.as_bytes());
            let read = read.map(|(code, reason)| (code, std::str::from_utf8(reason).unwrap()));
            assert_eq!(read, expected, "{text:?}");
        }
    }
}
