//! Python's door: the extension module `rwsgi._rwsgi`.

use std::ffi::OsString;

use pyo3::prelude::*;

/// The server as an extension module of the interpreter that it then runs in.
#[pymodule]
mod _rwsgi {
    use super::{OsString, Python, pyfunction};

    /// Runs the command `rwsgi`; `argv` begins with the program's name. Returns the exit code.
    #[pyfunction]
    fn main(py: Python<'_>, argv: Vec<OsString>) -> u8 {
        // Detached: the processes that are forked from here attach when they want Python.
        py.detach(|| crate::run(argv.into_iter().skip(1)))
    }

    /// Runs the command `rwsgictl`; `argv` begins with the program's name. Returns the exit code.
    #[pyfunction]
    fn control(py: Python<'_>, argv: Vec<OsString>) -> u8 {
        py.detach(|| crate::control(argv.into_iter().skip(1)))
    }
}
