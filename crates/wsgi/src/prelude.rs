//! Calls the Python modules in this folder: `prelude.py`, `audit.py` and others.

use std::ffi::CStr;
use std::path::PathBuf;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyModule;
use tracing::error;

/// An embedded module: its source, NUL-terminated for CPython's compiler, its file and its name.
struct Embedded(&'static str, &'static CStr, &'static CStr);

const PRELUDE: Embedded = Embedded(
    concat!(include_str!("prelude.py"), "\0"),
    c"<rwsgi prelude>",
    c"_rwsgi_prelude",
);
const APPLICATION: Embedded = Embedded(
    concat!(include_str!("application.py"), "\0"),
    c"<rwsgi application>",
    c"_rwsgi_loading",
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

/// The module that finds the application.
pub(crate) fn application(py: Python<'_>) -> PyResult<&Bound<'_, PyModule>> {
    static MODULE: Executed = Executed::new();
    APPLICATION.executed(py, &MODULE)
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

/// The module that searches for what a fork would break. To be executed before the application is loaded.
pub(crate) fn audit(py: Python<'_>) -> PyResult<&Bound<'_, PyModule>> {
    static MODULE: Executed = Executed::new();
    AUDIT.executed(py, &MODULE)
}

/// The module that names the threads which libraries have started.
pub(crate) fn native(py: Python<'_>) -> PyResult<&Bound<'_, PyModule>> {
    static MODULE: Executed = Executed::new();
    NATIVE.executed(py, &MODULE)
}

/// The module for what each child makes anew after the fork.
pub(crate) fn renew(py: Python<'_>) -> PyResult<&Bound<'_, PyModule>> {
    static MODULE: Executed = Executed::new();
    RENEW.executed(py, &MODULE)
}

/// The target of events with a traceback, whose message is written to the log as it is, line by line.
pub const TRACEBACK: &str = "rwsgi::traceback";

/// Whether the end of a process waits for the application's threads, as CPython's end does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waits {
    /// For those that are no daemons, and for tasks of thread pools.
    ForThreads,
    /// For none.
    ForNone,
}

/// Does for the application what CPython does at its end: waits for its threads, calls the functions that were registered
/// with `atexit` in this process, and flushes its open files.
///
/// To be called last and on the main thread, before `_exit`. The interpreter is not finalized: that would touch every
/// object, and so copy the memory that this process shares with others.
pub fn leave(py: Python<'_>, waits: Waits) {
    let waits = waits == Waits::ForThreads;
    let left = ending(py).and_then(|ending| ending.call_method1(intern!(py, "leave"), (waits,)));
    if let Err(raised) = left {
        log_traceback(py, &raised);
    }
}

/// The names of the application's threads that [`leave`] would wait for now, without those of pools.
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

/// Resets handlers of the server's signals that were set while Python was started to the default action.
pub fn forget_handlers(py: Python<'_>) {
    call(py, signals(py), "forget");
}

/// In a process that the server has forked: exit functions that were registered before the fork are not run in it.
pub(crate) fn forked(py: Python<'_>) {
    call(py, signals(py), "after_fork");
    call(py, ending(py), "forked");
}

/// The server is about to fork, or has forked (in the parent).
pub(crate) fn about_to_fork(py: Python<'_>, about_to: bool) {
    let name = if about_to {
        "before_fork"
    } else {
        "after_fork"
    };
    call(py, signals(py), name);
}

/// Before the memory is frozen: notes the open files, and flushes them.
pub(crate) fn keep_files(py: Python<'_>) {
    call(py, ending(py), "keep_files");
}

/// Flushes the files that were noted.
pub(crate) fn flush_kept(py: Python<'_>) {
    call(py, ending(py), "flush_kept");
}

/// Calls a function of one of these modules; the traceback of a failure is logged.
fn call(py: Python<'_>, module: PyResult<&Bound<'_, PyModule>>, name: &str) {
    if let Err(failed) = module.and_then(|module| module.call_method0(name)) {
        log_traceback(py, &failed);
    }
}

/// The files of all imported modules, and those that were missing when the application could not be loaded.
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

/// Notes the files of a failure, for [`module_files`].
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
    // `into_value` sets the traceback in the exception, which CPython up to 3.11 has not done when it is caught from C.
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

/// Logs a traceback as it is, unless it is empty.
pub(crate) fn log_text(traceback: &str) {
    if !traceback.is_empty() {
        error!(target: TRACEBACK, "{traceback}");
    }
}
