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
pub(crate) struct Last {
    bytes: Vec<u8>,
    text: Option<Py<PyString>>,
}

impl Last {
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

/// A number in decimal digits.
pub(crate) struct Digits {
    digits: [u8; 20],
    start: usize,
}

impl Digits {
    pub(crate) fn new(number: u64) -> Self {
        let mut this = Self {
            digits: [0; 20],
            start: 20,
        };
        let mut rest = number;
        loop {
            this.start -= 1;
            this.digits[this.start] = b"0123456789"[usize::try_from(rest % 10).unwrap_or_default()];
            rest /= 10;
            if rest == 0 {
                return this;
            }
        }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.digits[self.start..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_those_of_the_number() {
        for number in [0, 1, 9, 10, 8080, u64::MAX] {
            assert_eq!(
                Digits::new(number).as_bytes(),
                number.to_string().as_bytes()
            );
        }
    }
}
