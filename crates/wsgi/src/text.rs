//! Bytes of the protocol as the str that PEP 3333 wants: each byte a character.

use pyo3::prelude::*;
use pyo3::types::PyString;

/// Longer ones are made anew each time: what is kept is to be small.
const LONGEST_KEPT: usize = 256;

pub(crate) fn text<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyString>> {
    if bytes.is_ascii() {
        PyString::from_bytes(py, bytes)
    } else {
        Ok(PyString::new(py, &characters(bytes)))
    }
}

pub(crate) fn characters(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| char::from(byte)).collect()
}

/// The last text of its kind. The next request mostly has the same, and then nothing is made.
#[derive(Debug)]
pub(crate) struct CachedStr {
    bytes: Vec<u8>,
    text: Option<Py<PyString>>,
}

impl CachedStr {
    pub(crate) const fn new() -> Self {
        Self {
            bytes: Vec::new(),
            text: None,
        }
    }

    pub(crate) fn text<'py>(
        &mut self,
        py: Python<'py>,
        bytes: &[u8],
    ) -> PyResult<Bound<'py, PyString>> {
        if let Some(text) = &self.text
            && self.bytes == bytes
        {
            return Ok(text.bind(py).clone());
        }
        let text = text(py, bytes)?;
        if bytes.len() <= LONGEST_KEPT {
            self.bytes.clear();
            self.bytes.extend_from_slice(bytes);
            self.text = Some(text.clone().unbind());
        }
        Ok(text)
    }
}
