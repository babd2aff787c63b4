//! Bytes of the protocol as the str of PEP 3333: each byte is one character (latin-1).

use pyo3::prelude::*;
use pyo3::types::PyString;

/// Longer ones are not kept, to bound the memory.
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

/// The last text of its kind, which is used again when the next request has the same bytes.
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
