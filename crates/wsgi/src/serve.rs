//! An application thread's work: take a request, answer it, take the next.

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

/// Serves requests until `stop` is set and the thread has been woken. The thread stays attached for its whole life but
/// for the time that it waits, and so keeps one thread state: `threading.local` survives from request to request.
/// After each request `answered` is called.
pub fn serve(
    py: Python<'_>,
    app: &App,
    worker: &mut Worker,
    stop: &AtomicBool,
    answered: &dyn Fn(),
) {
    loop {
        // A sole thread lets go of the interpreter only when it has to wait. Others of the application get it all the same,
        // after the switch interval; where there are several of ours, one of them may wait for this very moment.
        let taken = if worker.is_alone() {
            worker.poll(stop)
        } else {
            None
        };
        let wait = || {
            // One that came while this thread was busy does not interrupt its sleep.
            handle_signals(py);
            py.detach(|| worker.wait(stop, &|| Python::attach(handle_signals)))
        };
        let Some(taken) = taken.or_else(wait) else {
            return;
        };
        let mut claim = worker.open(taken);
        // A panic costs the request, whose claim ends it as broken off, and not the thread's other requests.
        if catch_unwind(AssertUnwindSafe(|| answer(py, app, &mut claim))).is_err() {
            error!("a panic while answering a request");
        }
        drop(claim);
        answered();
    }
}

/// Has the application's handlers of signals called, which CPython does on the main thread alone.
fn handle_signals(py: Python<'_>) {
    if let Err(raised) = py.check_signals() {
        handler_failed(py, &raised);
    }
}

/// There is no request for which it could be raised.
fn handler_failed(py: Python<'_>, raised: &PyErr) {
    error!(error = %prelude::summary(py, raised), "a handler of a signal failed");
    prelude::log_traceback(py, raised);
}

/// What the main thread waits at while others serve: handlers of signals are called meanwhile.
#[derive(Debug)]
pub struct ServingLock(Py<PyAny>);

impl ServingLock {
    /// One that is closed.
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
            // CPython calls handlers while it waits for a lock; what they raise ends the wait.
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

/// Gives the thread a name that logs of the application can show, and has the threads that it starts be none that the
/// end of the process leaves behind: CPython takes one that it has not started for a daemon, and so would those be.
/// What traces or profiles each thread that is started, a debugger or a measurement of coverage, begins to.
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

/// Takes a thread that is about to end, and was named, off the list of those that are alive: before 3.12, CPython leaves one
/// there that it has not started. What waits for all threads, as a debugger does, would wait for it.
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
        // What went wrong has been logged.
        Ok(fetched) => drop(app.answer(py, &request, fetched, reply)),
        // The front has given the request up and wants no answer; or there is no memory for its body.
        Err(error) => error!(%error, "a request without its body is not run"),
    }
}

/// Fetches the body where the request says that it does not have it.
fn fetch<'py>(py: Python<'py>, body: Body<'_>, reply: &Answer<'_>) -> PyResult<Fetched<'py>> {
    Ok(match body {
        Body::Memory(_) => Fetched::Nothing,
        // Into the object that the application reads, without a stop in between.
        Body::Apart(size) => {
            Fetched::Bytes(PyBytes::new_with(py, usize::try_from(size)?, |bytes| {
                let read = reply.body(bytes);
                read.map_err(|malformed| PyOSError::new_err(malformed.to_string()))
            })?)
        }
        Body::File(_) => Fetched::File(py.detach(|| reply.body_file())?),
    })
}
