//! The extension module `rwsgi._rwsgi`.

use std::ffi::OsString;

use pyo3::prelude::*;

use crate::cli;
use crate::host::invocation;
use crate::python::reexec::{By, Imported};

/// The server as an extension module; it runs in the importing interpreter.
#[pymodule]
mod _rwsgi {
    use super::{
        Bound, By, Imported, OsString, Py, PyAny, PyAnyMethods, PyModule, PyResult, Python, cli,
        invocation, pyfunction,
    };

    /// Runs the command `rwsgi`; `argv` begins with the program's name. Returns the exit code.
    ///
    /// `command` is the original command line, if this process has become this interpreter for the server: then it
    /// must not start another one. `complete` does in each mold what was left out of this interpreter's start.
    #[pyfunction]
    #[pyo3(pass_module, signature = (argv, command = None, complete = None))]
    fn main(
        module: &Bound<'_, PyModule>,
        argv: Vec<OsString>,
        command: Option<Vec<OsString>>,
        complete: Option<Py<PyAny>>,
    ) -> PyResult<u8> {
        let py = module.py();
        let by = match (&command, complete) {
            (_, Some(complete)) => {
                wsgi::complete_start_with(py, complete);
                By::Alone
            }
            (Some(_), None) => By::Chosen,
            (None, None) => By::First,
        };
        command.into_iter().for_each(invocation::typed);
        let mut argv = argv.into_iter();
        let imported = Imported {
            module: module.getattr("__file__")?.extract()?,
            name: argv.next().unwrap_or_default(),
            by,
        };
        // Detached: the processes that are forked from here attach when they need Python.
        Ok(py.detach(|| cli::run(argv, Some(&imported))))
    }

    /// Runs the command `rwsgictl`; `argv` begins with the program's name. Returns the exit code.
    #[pyfunction]
    fn control(py: Python<'_>, argv: Vec<OsString>) -> u8 {
        py.detach(|| cli::control(argv.into_iter().skip(1)))
    }
}
