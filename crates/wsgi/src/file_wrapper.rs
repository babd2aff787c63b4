//! `wsgi.file_wrapper`: a regular file goes to the front as a descriptor, anything else is read like any iterable.
#![expect(unsafe_code, reason = "Python knows a descriptor only as a number")]

use std::os::fd::{BorrowedFd, OwnedFd, RawFd};

use exchange::Extent;
use pyo3::exceptions::PyOSError;
use pyo3::intern;
use pyo3::prelude::*;

use crate::prelude;

/// What the file of a `FileWrapper` still has, when reading it needs no Python.
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

/// A descriptor of our own: the application may close the file while we send it.
fn duplicate(raw: &Bound<'_, PyAny>) -> PyResult<OwnedFd> {
    let number: RawFd = raw.call_method0(intern!(raw.py(), "fileno"))?.extract()?;
    if number < 0 {
        return Err(PyOSError::new_err("the file has no descriptor"));
    }
    // SAFETY: `fileno` of an `io.FileIO` names a descriptor that is open, and it is not -1. The interpreter stays ours
    // until the borrow ends, so that no code of the application closes the file meanwhile.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    Ok(borrowed.try_clone_to_owned()?)
}
