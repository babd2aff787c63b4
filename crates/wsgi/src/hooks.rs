//! Hooks: the application's functions that are called at certain points of a process.

use pyo3::intern;
use pyo3::prelude::*;
use tracing::{error, warn};

use crate::app::App;
use crate::prelude;

/// A point whose functions must succeed, or the process cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookPoint {
    /// A child is about to be forked from this process.
    BeforeFork,
    /// This process is a child, and has not yet taken a request.
    AfterFork,
}

impl App {
    /// Calls the application's functions for this point.
    ///
    /// # Errors
    /// The traceback of the first function that failed, which has been logged; those after it have not been called.
    pub fn call_hooks(&self, py: Python<'_>, point: HookPoint) -> Result<(), String> {
        let name = match point {
            HookPoint::BeforeFork => "before_fork",
            HookPoint::AfterFork => "after_fork",
        };
        let called = prelude::module(py)
            .and_then(|module| module.call_method1(intern!(py, "turn"), (name,)));
        if point == HookPoint::BeforeFork {
            prelude::flush_kept(py);
        }
        called.map(drop).map_err(|raised| {
            error!(hook = name, error = %prelude::summary(py, &raised), "a function of the application failed");
            prelude::log_traceback(py, &raised)
        })
    }

    /// Calls the functions for before the memory is shared. Failures are logged.
    pub fn call_warmups(&self, py: Python<'_>) {
        call_all(py, "warmup");
    }

    /// Calls the functions for the end of a child. Failures are logged.
    pub fn call_exits(&self, py: Python<'_>) {
        call_all(py, "on_exit");
    }
}

fn call_all(py: Python<'_>, name: &'static str) {
    let failed = prelude::module(py)
        .and_then(|module| module.call_method1(intern!(py, "call_all"), (name,)))
        .and_then(|failed| failed.extract::<Vec<(String, String)>>());
    match failed {
        Ok(failed) => {
            for (function, traceback) in failed {
                prelude::log_text(&traceback);
                warn!(
                    hook = name,
                    function, "a function of the application failed"
                );
            }
        }
        Err(raised) => {
            error!(hook = name, error = %prelude::summary(py, &raised), "cannot be called");
        }
    }
}
