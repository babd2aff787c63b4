//! `wsgi.file_wrapper`: a regular file is sent to the front as a descriptor, anything else is read like any iterable.
#![expect(unsafe_code, reason = "Python has a descriptor only as a number")]

use std::os::fd::{BorrowedFd, OwnedFd, RawFd};

use exchange::Extent;
use pyo3::exceptions::PyOSError;
use pyo3::intern;
use pyo3::prelude::*;

use crate::prelude;

/// The rest of the file of a `FileWrapper`, if it can be read without Python.
pub(crate) fn extent(wrapper: &Bound<'_, PyAny>) -> PyResult<Option<Extent>> {
    let py = wrapper.py();
    let extent = prelude::module(py)?.call_method1(intern!(py, "extent"), (wrapper,))?;
    if extent.is_none() {
        return Ok(None);
    }
    let (raw, offset, length): (Bound<'_, PyAny>, u64, u64) = extent.extract()?;
    Ok(Some(Extent {
        file: duplicate(&raw)?,
        offset,
        length,
    }))
}

/// A descriptor of our own, since the application may close the file while it is sent.
fn duplicate(raw: &Bound<'_, PyAny>) -> PyResult<OwnedFd> {
    let number: RawFd = raw.call_method0(intern!(raw.py(), "fileno"))?.extract()?;
    if number < 0 {
        return Err(PyOSError::new_err("the file has no descriptor"));
    }
    // SAFETY: `fileno` of an `io.FileIO` is the number of an open descriptor, and not -1. This thread stays attached until
    // the borrow ends, so no code of the application closes the file meanwhile.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    Ok(borrowed.try_clone_to_owned()?)
}
