//! `wsgi.input`: the whole body has come before the application is called, so this is one of Python's own files.

use std::fs::File;
use std::io::Seek;
use std::os::fd::{IntoRawFd, OwnedFd};

use exchange::Body;
use pyo3::exceptions::PyOSError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyType};

/// The body of one request, as the application reads it.
pub(crate) enum Input<'py> {
    Memory(Bound<'py, PyAny>),
    File(Bound<'py, PyAny>),
}

impl<'py> Input<'py> {
    pub(crate) fn open(py: Python<'py>, body: Body<'_>, file: Option<OwnedFd>) -> PyResult<Self> {
        static BYTES_IO: PyOnceLock<Py<PyType>> = PyOnceLock::new();
        match body {
            Body::Memory(bytes) => {
                let class = BYTES_IO.import(py, "io", "BytesIO")?;
                let input = if bytes.is_empty() {
                    class.call0()
                } else {
                    class.call1((PyBytes::new(py, bytes),))
                };
                input.map(Self::Memory)
            }
            Body::File(_) => {
                let file = file
                    .ok_or_else(|| PyOSError::new_err("the file that holds the body is missing"))?;
                let mut file = File::from(file);
                // Whoever wrote the body has left the position at its end.
                file.rewind()?;
                let io = py.import(intern!(py, "io"))?;
                let raw = io
                    .getattr(intern!(py, "FileIO"))?
                    .call1((file.into_raw_fd(), "rb"))?;
                io.getattr(intern!(py, "BufferedReader"))?
                    .call1((raw,))
                    .map(Self::File)
            }
        }
    }

    pub(crate) fn object(&self) -> &Bound<'py, PyAny> {
        match self {
            Self::Memory(object) | Self::File(object) => object,
        }
    }

    /// Frees a file although the application may have kept the environ.
    pub(crate) fn close(&self) -> PyResult<()> {
        if let Self::File(object) = self {
            object.call_method0(intern!(object.py(), "close"))?;
        }
        Ok(())
    }
}
