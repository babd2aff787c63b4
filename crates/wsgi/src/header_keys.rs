//! Names of header fields as keys of the environ, of which each is made once.

use std::collections::HashMap;

use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::text::{CachedStr, text};

/// How many names are kept. Further ones, of clients that invent names, are made anew each time.
const LIMIT: usize = 256;

/// Longer names are not kept either.
const LONGEST: usize = 64;

/// Kept from the start, so that invented names cannot take their places.
const COMMON: [&str; 51] = [
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "authorization",
    "cache-control",
    "connection",
    "content-type",
    "cookie",
    "date",
    "dnt",
    "expect",
    "forwarded",
    "from",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "keep-alive",
    "origin",
    "pragma",
    "priority",
    "range",
    "referer",
    "sec-ch-ua",
    "sec-ch-ua-mobile",
    "sec-ch-ua-platform",
    "sec-fetch-dest",
    "sec-fetch-mode",
    "sec-fetch-site",
    "sec-fetch-user",
    "sec-gpc",
    "te",
    "traceparent",
    "tracestate",
    "upgrade",
    "upgrade-insecure-requests",
    "user-agent",
    "via",
    "x-csrftoken",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-forwarded-scheme",
    "x-real-ip",
    "x-request-id",
    "x-requested-with",
    "x-scheme",
];

/// Credentials, whose values are not kept beyond their request.
const SECRET: [&str; 2] = ["authorization", "cookie"];

/// What is done with a field.
pub(crate) enum Field<'py> {
    /// The application does not get it.
    Dropped,
    /// It gives the length of the body.
    Framing,
    /// The application gets it.
    Kept {
        key: Bound<'py, PyString>,
        value: Bound<'py, PyString>,
        /// The value may be a credential.
        secret: bool,
    },
}

/// The names that have been seen, with their keys and last values.
#[derive(Debug)]
pub(crate) struct HeaderKeys(HashMap<Box<[u8]>, Known>);

#[derive(Debug)]
struct Known {
    key: Py<PyString>,
    /// The last value; `None` where values are not kept.
    last: Option<CachedStr>,
}

impl HeaderKeys {
    pub(crate) fn new(py: Python<'_>) -> Self {
        let mut names = Self(HashMap::with_capacity(LIMIT));
        for name in COMMON {
            let last = (!SECRET.contains(&name)).then(CachedStr::new);
            names.insert(name.as_bytes(), interned(py, name.as_bytes()), last);
        }
        names
    }

    /// What is done with a field. The case of its name is ignored.
    pub(crate) fn find<'py>(
        &mut self,
        py: Python<'py>,
        name: &[u8],
        value: &[u8],
    ) -> PyResult<Field<'py>> {
        match &mut [0; LONGEST].get_mut(..name.len()) {
            Some(lower) => {
                lower.copy_from_slice(name);
                lower.make_ascii_lowercase();
                self.find_lower(py, lower, value)
            }
            None => self.find_lower(py, &name.to_ascii_lowercase(), value),
        }
    }

    fn find_lower<'py>(
        &mut self,
        py: Python<'py>,
        name: &[u8],
        value: &[u8],
    ) -> PyResult<Field<'py>> {
        if let Some(known) = self.0.get_mut(name) {
            let value = match &mut known.last {
                Some(last) => last.text(py, value)?,
                None => text(py, value)?,
            };
            return Ok(Field::Kept {
                key: known.key.bind(py).clone(),
                value,
                secret: known.last.is_none(),
            });
        }
        Ok(match name {
            b"content-length" | b"transfer-encoding" => Field::Framing,
            // As HTTP_PROXY it would be taken for the proxy of outgoing requests by some libraries ("httpoxy").
            b"proxy" => Field::Dropped,
            // It would have the key of the field with a hyphen, which a proxy may have checked or removed.
            _ if name.contains(&b'_') => Field::Dropped,
            _ => {
                let key = interned(py, name);
                if self.0.len() < LIMIT && name.len() <= LONGEST {
                    // The value of an unknown field may be a credential, and is not kept.
                    self.insert(name, key.clone(), None);
                }
                let value = text(py, value)?;
                Field::Kept {
                    key,
                    value,
                    secret: true,
                }
            }
        })
    }

    fn insert(&mut self, name: &[u8], key: Bound<'_, PyString>, last: Option<CachedStr>) {
        let key = key.unbind();
        self.0.insert(name.into(), Known { key, last });
    }
}

fn interned<'py>(py: Python<'py>, name: &[u8]) -> Bound<'py, PyString> {
    PyString::intern(py, &key(name))
}

fn key(name: &[u8]) -> String {
    let upper = name.iter().map(|&byte| match byte {
        b'-' => '_',
        byte => char::from(byte.to_ascii_uppercase()),
    });
    let prefix = if name == b"content-type" { "" } else { "HTTP_" };
    prefix.chars().chain(upper).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_of_the_common_gateway_interface() {
        assert_eq!(key(b"x-request-id"), "HTTP_X_REQUEST_ID");
        assert_eq!(key(b"content-type"), "CONTENT_TYPE");
    }

    #[test]
    fn the_names_kept_from_the_start_differ_and_leave_room() {
        let mut names = COMMON.to_vec();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), COMMON.len());
        assert!(COMMON.len() < LIMIT / 2);
        assert!(COMMON.iter().all(|name| name.len() <= LONGEST));
    }
}
