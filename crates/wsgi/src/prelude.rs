//! Rust's side of the modules in Python beside it: `prelude.py`, `audit.py` and others.

use std::ffi::CStr;
use std::path::PathBuf;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyModule;
use tracing::error;

/// A module of ours that is embedded: its source, NUL-terminated as CPython's compiler wants it, its file and its name.
struct Embedded(&'static str, &'static CStr, &'static CStr);

const PRELUDE: Embedded = Embedded(
    concat!(include_str!("prelude.py"), "\0"),
    c"<rwsgi prelude>",
    c"_rwsgi_prelude",
);
const AUDIT: Embedded = Embedded(
    concat!(include_str!("audit.py"), "\0"),
    c"<rwsgi audit>",
    c"_rwsgi_audit",
);
const NATIVE: Embedded = Embedded(
    concat!(include_str!("native.py"), "\0"),
    c"<rwsgi native>",
    c"_rwsgi_native",
);
const ENDING: Embedded = Embedded(
    concat!(include_str!("ending.py"), "\0"),
    c"<rwsgi ending>",
    c"_rwsgi_ending",
);
const SIGNALS: Embedded = Embedded(
    concat!(include_str!("signals.py"), "\0"),
    c"<rwsgi signals>",
    c"_rwsgi_signals",
);
const RENEW: Embedded = Embedded(
    concat!(include_str!("renew.py"), "\0"),
    c"<rwsgi renew>",
    c"_rwsgi_renew",
);

type Executed = PyOnceLock<Py<PyModule>>;

impl Embedded {
    fn executed<'py>(
        &self,
        py: Python<'py>,
        executed: &'static Executed,
    ) -> PyResult<&'py Bound<'py, PyModule>> {
        let module = executed.get_or_try_init(py, || {
            let &Self(source, file, name) = self;
            let source = CStr::from_bytes_with_nul(source.as_bytes())
                .expect("the only NUL is the one just added");
            PyModule::from_code(py, source, file, name).map(Bound::unbind)
        })?;
        Ok(module.bind(py))
    }
}

/// The module, executed on first use.
pub(crate) fn module(py: Python<'_>) -> PyResult<&Bound<'_, PyModule>> {
    static MODULE: Executed = Executed::new();
    PRELUDE.executed(py, &MODULE)
}

/// The module about the end of a process.
fn ending(py: Python<'_>) -> PyResult<&Bound<'_, PyModule>> {
    static MODULE: Executed = Executed::new();
    ENDING.executed(py, &MODULE)
}

/// The module about signals.
pub(crate) fn signals(py: Python<'_>) -> PyResult<&Bound<'_, PyModule>> {
    static MODULE: Executed = Executed::new();
    SIGNALS.executed(py, &MODULE)
}

/// What looks for what a fork would break. To be executed before the application is loaded.
pub(crate) fn audit(py: Python<'_>) -> PyResult<&Bound<'_, PyModule>> {
    static MODULE: Executed = Executed::new();
    AUDIT.executed(py, &MODULE)
}

/// What names the threads that libraries have begun.
pub(crate) fn native(py: Python<'_>) -> PyResult<&Bound<'_, PyModule>> {
    static MODULE: Executed = Executed::new();
    NATIVE.executed(py, &MODULE)
}

/// What each child makes anew after the fork.
pub(crate) fn renew(py: Python<'_>) -> PyResult<&Bound<'_, PyModule>> {
    static MODULE: Executed = Executed::new();
    RENEW.executed(py, &MODULE)
}

/// What carries a traceback to the log: an event of this target, whose message is written as it is, line by line.
pub const TRACEBACK: &str = "rwsgi::traceback";

/// Whether the end of a process waits for the application's threads, as CPython's end does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waits {
    /// For those that are no daemons, and for what has been given to pools.
    ForThreads,
    /// For none.
    ForNone,
}

/// Does what CPython's end does for the application: waits for its threads, calls what has been registered with `atexit`
/// in this process, and writes its open files out.
///
/// To be called last and on the main thread; then leave by `_exit`. The interpreter is not torn down: that would touch
/// every object, and so copy the memory that this process shares with its siblings.
pub fn leave(py: Python<'_>, waits: Waits) {
    let waits = waits == Waits::ForThreads;
    let left = ending(py).and_then(|ending| ending.call_method1(intern!(py, "leave"), (waits,)));
    if let Err(raised) = left {
        log_traceback(py, &raised);
    }
}

/// The names of the application's threads that [`leave`] would wait for now, but for those of pools.
#[must_use]
pub fn unfinished(py: Python<'_>) -> Vec<String> {
    let threads = ending(py)
        .and_then(|ending| ending.call_method0(intern!(py, "unfinished")))
        .and_then(|threads| threads.extract());
    threads.unwrap_or_else(|raised| {
        error!(error = %summary(py, &raised), "the threads cannot be listed");
        Vec::new()
    })
}

/// Takes handlers of the server's signals back that were set while Python was started; what the signals do is then their
/// default.
pub fn forget_handlers(py: Python<'_>) {
    call(py, signals(py), "forget");
}

/// In a process that the server has forked: what was registered before is left to the process that has registered it.
pub(crate) fn forked(py: Python<'_>) {
    call(py, signals(py), "after_fork");
    call(py, ending(py), "forked");
}

/// The fork that follows is the server's, or has been done in the process that goes on as before.
pub(crate) fn about_to_fork(py: Python<'_>, about_to: bool) {
    let name = if about_to {
        "before_fork"
    } else {
        "after_fork"
    };
    call(py, signals(py), name);
}

/// Before the memory is frozen: remembers the open files, and writes them out.
pub(crate) fn keep_files(py: Python<'_>) {
    call(py, ending(py), "keep_files");
}

/// Writes the files out that have been remembered.
pub(crate) fn flush_kept(py: Python<'_>) {
    call(py, ending(py), "flush_kept");
}

/// Calls a function of one of these modules; the traceback of what fails is logged.
fn call(py: Python<'_>, module: PyResult<&Bound<'_, PyModule>>, name: &str) {
    if let Err(failed) = module.and_then(|module| module.call_method0(name)) {
        log_traceback(py, &failed);
    }
}

/// The files of all modules that have been imported so far, and those that have been missed when the application could
/// not be loaded.
#[must_use]
pub fn module_files(py: Python<'_>) -> Vec<PathBuf> {
    let files = module(py)
        .and_then(|module| module.call_method0(intern!(py, "module_files")))
        .and_then(|files| files.extract());
    files.unwrap_or_else(|raised| {
        error!(error = %summary(py, &raised), "the files of the modules cannot be listed");
        Vec::new()
    })
}

/// How many modules have been imported.
#[must_use]
pub fn module_count(py: Python<'_>) -> usize {
    let modules = py
        .import(intern!(py, "sys"))
        .and_then(|sys| sys.getattr(intern!(py, "modules")));
    modules.and_then(|modules| modules.len()).unwrap_or(0)
}

/// Remembers which files have to do with a failure.
pub(crate) fn note_failure(py: Python<'_>, raised: &PyErr) {
    let noted = module(py).and_then(|module| {
        let value = raised.clone_ref(py).into_value(py);
        module.call_method1(intern!(py, "note_failure"), (value,))
    });
    if let Err(raised) = noted {
        error!(error = %summary(py, &raised), "the files of the failure cannot be listed");
    }
}

/// An exception in one line.
pub(crate) fn summary(py: Python<'_>, raised: &PyErr) -> String {
    let kind = raised
        .get_type(py)
        .name()
        .map_or_else(|_| "exception".to_owned(), |name| name.to_string());
    // The text is the application's: its __str__ may fail, and it must not forge a line of the log.
    match raised.value(py).str().map(|text| text.to_string()) {
        Ok(text) if text.is_empty() => kind,
        Ok(text) => {
            let printable: Vec<&str> = text.split(char::is_control).collect();
            format!("{kind}: {}", printable.join(" "))
        }
        Err(_) => kind,
    }
}

/// Logs the traceback, and returns it.
pub(crate) fn log_traceback(py: Python<'_>, raised: &PyErr) -> String {
    // Up to CPython 3.11 an exception that was caught from C does not yet know its traceback: this tells it.
    let value = raised.clone_ref(py).into_value(py);
    let text = module(py)
        .and_then(|module| module.call_method1(intern!(py, "report"), (value,)))
        .and_then(|text| text.extract::<String>());
    match text {
        Ok(text) => {
            log_text(&text);
            text
        }
        Err(failed) => {
            error!(error = %summary(py, &failed), "the traceback could not be printed");
            summary(py, raised)
        }
    }
}

/// Logs a traceback as it is; nothing of an empty one.
pub(crate) fn log_text(traceback: &str) {
    if !traceback.is_empty() {
        error!(target: TRACEBACK, "{traceback}");
    }
}
