//! The loop of an application thread: takes a request, answers it, takes the next.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::AtomicBool;

use exchange::{Answer, Body, Claim, Worker};
use pyo3::exceptions::PyOSError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use tracing::error;

use crate::app::App;
use crate::input::Fetched;
use crate::prelude;

/// Serves requests until `stop` is set and the thread has been woken. The thread is detached only while it waits, and keeps
/// one thread state, so that `threading.local` keeps its values from request to request. `answered` is called after each
/// request.
pub fn serve(
    py: Python<'_>,
    app: &App,
    worker: &mut Worker,
    stop: &AtomicBool,
    answered: &dyn Fn(),
) {
    loop {
        // A sole application thread detaches only when it has to wait: other Python threads get the GIL after the switch
        // interval. Where there are several application threads, another one may be waiting for the GIL now.
        let taken = if worker.is_alone() {
            worker.poll(stop)
        } else {
            None
        };
        let wait = || {
            // A signal that came before this thread parks does not end its wait.
            handle_signals(py);
            py.detach(|| worker.wait(stop, &|| Python::attach(handle_signals)))
        };
        let Some(taken) = taken.or_else(wait) else {
            return;
        };
        let mut claim = worker.open(taken);
        // After a panic the claim sends the answer as broken off, and the thread goes on with the next request.
        if catch_unwind(AssertUnwindSafe(|| answer(py, app, &mut claim))).is_err() {
            error!("a panic while answering a request");
        }
        drop(claim);
        answered();
    }
}

/// Calls the application's signal handlers, on the main thread; CPython calls none on others.
fn handle_signals(py: Python<'_>) {
    if let Err(raised) = py.check_signals() {
        handler_failed(py, &raised);
    }
}

/// Logs what a signal handler has raised: there is no request that could fail by it.
fn handler_failed(py: Python<'_>, raised: &PyErr) {
    error!(error = %prelude::summary(py, raised), "a handler of a signal failed");
    prelude::log_traceback(py, raised);
}

/// The lock at which the main thread waits while others serve. Signal handlers are called meanwhile.
#[derive(Debug)]
pub struct ServingLock(Py<PyAny>);

impl ServingLock {
    /// A closed lock.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn closed(py: Python<'_>) -> PyResult<Self> {
        let lock = py
            .import(intern!(py, "threading"))?
            .call_method0(intern!(py, "Lock"))?;
        lock.call_method0(intern!(py, "acquire"))?;
        Ok(Self(lock.unbind()))
    }

    /// Waits until it is open.
    pub fn wait(&self) {
        Python::attach(|py| {
            handle_signals(py);
            // CPython calls signal handlers while it waits for a lock; an exception of one ends the wait.
            while let Err(raised) = self.0.call_method0(py, intern!(py, "acquire")) {
                handler_failed(py, &raised);
            }
        });
    }

    /// Opens it, once.
    pub fn open(&self) {
        Python::attach(|py| {
            if let Err(raised) = self.0.call_method0(py, intern!(py, "release")) {
                error!(error = %prelude::summary(py, &raised), "the main thread cannot be woken");
            }
        });
    }
}

/// Makes this thread like one that Python has started:
/// - it has a name, for the application's logs;
/// - it is no daemon, and so are the threads that it starts: CPython takes a thread that it has not started for one;
/// - it is traced and profiled as set by `threading.settrace` and `setprofile`, for debuggers and coverage.
pub fn name_thread(py: Python<'_>, name: &str) {
    let named = || {
        let threading = py.import(intern!(py, "threading"))?;
        let thread = threading.call_method0(intern!(py, "current_thread"))?;
        // The property of this name cannot be set in a thread that runs.
        thread.setattr(intern!(py, "_daemonic"), false)?;
        thread.setattr(intern!(py, "name"), name)?;
        let sys = py.import(intern!(py, "sys"))?;
        for (kept, set) in [("gettrace", "settrace"), ("getprofile", "setprofile")] {
            let hook = threading.call_method0(kept)?;
            if !hook.is_none() {
                sys.call_method1(set, (hook,))?;
            }
        }
        PyResult::Ok(())
    };
    if let Err(raised) = named() {
        error!(error = %raised, "the thread cannot be made known");
    }
}

/// Removes a named thread that is about to end from Python's list of live threads: before 3.12, CPython does so only for
/// threads that it has started. A debugger, which waits for all of them, would wait for ever.
pub fn forget_thread(py: Python<'_>) {
    let forgotten = py.import(intern!(py, "threading")).and_then(|threading| {
        let ident = threading.call_method0(intern!(py, "get_ident"))?;
        threading
            .getattr(intern!(py, "_active"))?
            .call_method1(intern!(py, "pop"), (ident, py.None()))
    });
    if let Err(raised) = forgotten {
        error!(error = %raised, "the thread stays on the list of those that are alive");
    }
}

fn answer(py: Python<'_>, app: &App, claim: &mut Claim<'_>) {
    let (request, reply) = match claim.split() {
        Ok(parts) => parts,
        Err(error) => return error!(%error, "a request that cannot be read is not run"),
    };
    match fetch(py, request.body, reply) {
        // A failure has been logged.
        Ok(fetched) => drop(app.answer(py, &request, fetched, reply)),
        // The front has given the request up, or there is no memory for its body.
        Err(error) => error!(%error, "a request without its body is not run"),
    }
}

/// Fetches the body where the request does not have it.
fn fetch<'py>(py: Python<'py>, body: Body<'_>, reply: &Answer<'_>) -> PyResult<Fetched<'py>> {
    Ok(match body {
        Body::Memory(_) => Fetched::Nothing,
        // Copied straight into the object that the application reads.
        Body::Apart(size) => {
            Fetched::Bytes(PyBytes::new_with(py, usize::try_from(size)?, |bytes| {
                let read = reply.body(bytes);
                read.map_err(|malformed| PyOSError::new_err(malformed.to_string()))
            })?)
        }
        Body::File(_) => Fetched::File(py.detach(|| reply.body_file())?),
    })
}
