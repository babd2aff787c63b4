//! Python's door: the extension module `rwsgi._rwsgi`.

use std::ffi::OsString;
use std::path::PathBuf;

use pyo3::prelude::*;

/// The server as an extension module of the interpreter that it then runs in.
#[pymodule]
mod _rwsgi {
    use super::{OsString, PathBuf, PyAnyMethods, PyResult, Python, pyfunction};

    /// Runs the command `rwsgi`; `argv` begins with the program's name. Returns the exit code. `entered` says that this is
    /// the interpreter that was chosen, and that no other one is to be started.
    #[pyfunction]
    #[pyo3(signature = (argv, entered = false))]
    fn main(py: Python<'_>, argv: Vec<OsString>, entered: bool) -> PyResult<u8> {
        let module: Option<PathBuf> = if entered {
            None
        } else {
            let module = py.import("rwsgi._rwsgi")?;
            Some(module.getattr("__file__")?.extract()?)
        };
        // Detached: the processes that are forked from here attach when they want Python.
        Ok(py.detach(|| crate::run_in(argv.into_iter().skip(1), module.as_deref())))
    }

    /// Runs the command `rwsgictl`; `argv` begins with the program's name. Returns the exit code.
    #[pyfunction]
    fn control(py: Python<'_>, argv: Vec<OsString>) -> u8 {
        py.detach(|| crate::control(argv.into_iter().skip(1)))
    }
}
