//! `wsgi.input`: the whole body is there before the application is called, so it is a file object of Python's own.

use std::fs::File;
use std::io::Seek;
use std::os::fd::{IntoRawFd, OwnedFd};

use exchange::Body;
use pyo3::exceptions::PyOSError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyType};

/// The body of one request as a file object.
pub(crate) enum Input<'py> {
    Memory(Bound<'py, PyAny>),
    File(Bound<'py, PyAny>),
}

/// A body that has been fetched because the request itself does not have it.
#[derive(Debug, Default)]
pub enum Fetched<'py> {
    /// Nothing: the request has the body.
    #[default]
    Nothing,
    /// The bytes of [`Body::Apart`].
    Bytes(Bound<'py, PyBytes>),
    /// The file of [`Body::File`].
    File(OwnedFd),
}

impl<'py> Input<'py> {
    pub(crate) fn open(py: Python<'py>, body: Body<'_>, fetched: Fetched<'py>) -> PyResult<Self> {
        match (body, fetched) {
            (Body::Memory(b""), _) => bytes_io(py)?.call0().map(Self::Memory),
            (Body::Memory(bytes), _) => Self::from_bytes(PyBytes::new(py, bytes)),
            (Body::Apart(_), Fetched::Bytes(bytes)) => Self::from_bytes(bytes),
            (Body::File(_), Fetched::File(file)) => {
                let mut file = File::from(file);
                // The position is at the end, where the front has left it after writing.
                file.rewind()?;
                let io = py.import(intern!(py, "io"))?;
                let raw = io
                    .getattr(intern!(py, "FileIO"))?
                    .call1((file.into_raw_fd(), "rb"))?;
                io.getattr(intern!(py, "BufferedReader"))?
                    .call1((raw,))
                    .map(Self::File)
            }
            (Body::Apart(_) | Body::File(_), _) => {
                Err(PyOSError::new_err("the body has not been fetched"))
            }
        }
    }

    fn from_bytes(bytes: Bound<'py, PyBytes>) -> PyResult<Self> {
        bytes_io(bytes.py())?.call1((bytes,)).map(Self::Memory)
    }

    pub(crate) fn object(&self) -> &Bound<'py, PyAny> {
        match self {
            Self::Memory(object) | Self::File(object) => object,
        }
    }

    /// Closes a file also when the application has kept the environ.
    pub(crate) fn close(&self) -> PyResult<()> {
        if let Self::File(object) = self {
            object.call_method0(intern!(object.py(), "close"))?;
        }
        Ok(())
    }
}

fn bytes_io(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
    static BYTES_IO: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    BYTES_IO.import(py, "io", "BytesIO")
}
