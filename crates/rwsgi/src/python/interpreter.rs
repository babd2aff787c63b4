//! Starts CPython for a mold or `--check`, and runs its fork hooks.

use supervisor::ForkHooks;
use tracing::{error, warn};
use wsgi::{Interpreter, Python, StartError};

use crate::config::{Config, show_size};
use crate::log;

const MIB: u64 = 1024 * 1024;

/// Starts CPython, or uses the interpreter in which this program runs. Reports when there is none, and when the
/// stack is too small for it.
pub(crate) fn start_python(config: &Config) -> Option<Interpreter> {
    match interpreter(config) {
        Ok(interpreter) => {
            warn_of_small_stack(config.stack_size, interpreter.version());
            Some(interpreter)
        }
        Err(problem) => {
            error!(error = log::chain(&problem), "no Python");
            None
        }
    }
}

fn interpreter(config: &Config) -> Result<Interpreter, StartError> {
    if Interpreter::is_running() {
        return Interpreter::adopt(config.python.as_deref());
    }
    #[cfg(feature = "embed")]
    {
        Interpreter::start(&wsgi::Start {
            python: config.python.clone(),
        })
    }
    #[cfg(not(feature = "embed"))]
    Interpreter::adopt(config.python.as_deref())
}

/// Warns once when the stack is smaller than measured to be safe for this Python: with less, deep recursion in C
/// code (a sort key, a JSON document) ends in a segmentation fault instead of a `RecursionError`.
fn warn_of_small_stack(stack_size: u64, (major, minor): (u8, u8)) {
    let safe = if (major, minor) < (3, 12) {
        2 * MIB
    } else {
        3 * MIB
    };
    if stack_size < safe {
        warn!(
            stack_size = %show_size(stack_size),
            safe = %show_size(safe),
            python = %format!("{major}.{minor}"),
            "deep recursion in C code can crash a child on stacks this small",
        );
    }
}

/// CPython's fork hooks.
pub(crate) struct Hooks<'py>(pub(crate) Python<'py>);

impl ForkHooks for Hooks<'_> {
    fn before(&self) {
        wsgi::before_fork(self.0);
    }

    fn in_parent(&self) {
        wsgi::after_fork_parent(self.0);
    }

    fn in_child(&self) {
        wsgi::after_fork_child(self.0);
    }
}
