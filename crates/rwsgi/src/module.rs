//! Python's door: the extension module `rwsgi._rwsgi`.

use std::ffi::OsString;

use pyo3::prelude::*;

/// The server as an extension module of the interpreter that it then runs in.
#[pymodule]
mod _rwsgi {
    use super::{OsString, PyResult, Python, pyfunction};

    /// Runs the command `rwsgi`; `argv` begins with the program's name. Returns the exit code.
    #[pyfunction]
    #[expect(clippy::unnecessary_wraps, reason = "PyO3 converts the result")]
    fn main(py: Python<'_>, argv: Vec<OsString>) -> PyResult<u8> {
        // Detached: the processes that are forked from here attach when they want Python.
        Ok(py.detach(|| crate::run(argv.into_iter().skip(1))))
    }
}
