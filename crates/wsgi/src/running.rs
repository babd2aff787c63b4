//! How the interpreter of this process was started, to start another one in the same way.

use std::ffi::OsString;
use std::path::PathBuf;

use pyo3::prelude::*;

use crate::interpreter::StartError;

/// The interpreter of this process, and how it was started.
#[derive(Clone, Debug)]
pub struct Running {
    /// Its program.
    pub executable: PathBuf,
    /// Its command line, with the name of the program first.
    pub command: Vec<OsString>,
    /// It has imported `site` by itself.
    pub has_site: bool,
    /// `sys.path` as it is now.
    pub path: Vec<OsString>,
}

impl Running {
    /// Reads it from the running interpreter.
    ///
    /// # Errors
    /// When an attribute of `sys` cannot be read.
    pub fn look() -> Result<Self, StartError> {
        Python::attach(Self::ask).map_err(|raised| StartError::Refused(raised.to_string()))
    }

    fn ask(py: Python<'_>) -> PyResult<Self> {
        let sys = py.import("sys")?;
        // An entry need not be a path: there are hooks for others.
        let path = sys.getattr("path")?.try_iter()?;
        let path = path.filter_map(|entry| entry.and_then(|entry| entry.extract()).ok());
        Ok(Self {
            executable: sys.getattr("executable")?.extract()?,
            command: sys.getattr("orig_argv")?.extract()?,
            has_site: sys.getattr("flags")?.getattr("no_site")?.extract::<u8>()? == 0,
            path: path.collect(),
        })
    }
}
