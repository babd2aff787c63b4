//! One request from the exchange's bytes to the last part of the answer.

use exchange::{MAX_HEAD, Reply, Request};
use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyTuple};
use tracing::{debug, error, warn};

use crate::app::App;
use crate::file_wrapper;
use crate::input::{Fetched, Input};
use crate::prelude;
use crate::response_start::ResponseStart;
use crate::start_response::{Refused, StartResponse, Wants, with_reply};
use crate::start_response_cache::StartResponsePair;

/// Why an answer was not completed.
enum Failure {
    Raised(PyErr),
    Refused(Refused),
}

impl From<PyErr> for Failure {
    fn from(raised: PyErr) -> Self {
        Self::Raised(raised)
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl App {
    /// Runs the application for one request, and sends its answer.
    ///
    /// `fetched` is the body where [`exchange::Body`] does not have it itself. Whatever the application does, `reply` gets a
    /// last part unless the client has gone. A failure is logged here, and returned: a traceback or another reason.
    pub fn answer(
        &self,
        py: Python<'_>,
        request: &Request<'_>,
        fetched: Fetched<'_>,
        reply: &mut dyn Reply,
    ) -> Option<String> {
        let start = match StartResponsePair::of(py, request.method == b"HEAD") {
            Ok(start) => start,
            // No memory is left. Without a last part, `Claim` sends the answer as broken off.
            Err(raised) => return Some(log(py, request, &Failure::Raised(raised))),
        };
        let failed = with_reply(reply, || {
            self.run(py, request, fetched, &start)
                .unwrap_or_else(|failure| give_up(py, request, &start.response, &failure))
        });
        let surplus = start.response.borrow_mut().close();
        start.keep();
        if surplus > 0 {
            let (method, path) = place(request);
            warn!(%method, %path, surplus, "the application gave more than its Content-Length: cut");
        }
        failed
    }

    fn run<'py>(
        &self,
        py: Python<'py>,
        request: &Request<'_>,
        fetched: Fetched<'py>,
        start: &StartResponsePair<'_>,
    ) -> Result<Option<String>, Failure> {
        let input = Input::open(py, request.body, fetched)?;
        let Some(environ) = self.environs.make(py, request, input.object())? else {
            let mut response = start.response.borrow_mut();
            response.replace(ResponseStart::plain(404, "Not Found"));
            response.whole(py, b"Nothing is mounted at this path.\n")?;
            return Ok(None);
        };
        let called = self.call(py, request, environ, start);
        let closed = input.close();
        let failed = called?;
        closed?;
        Ok(failed)
    }

    fn call(
        &self,
        py: Python<'_>,
        request: &Request<'_>,
        environ: Bound<'_, PyDict>,
        start: &StartResponsePair<'_>,
    ) -> Result<Option<String>, Failure> {
        let body = self
            .callable
            .bind(py)
            .call1((environ, &start.start_response))?;
        let start = &start.response;
        // A failure is sent to the client before the application cleans up.
        let delivered = self.deliver(py, &body, start).map(|()| None);
        let failed = delivered.unwrap_or_else(|failure| give_up(py, request, start, &failure));
        // PEP 3333: `close` is called also after a failure.
        let closed = close(&body).map_err(|raised| log(py, request, &Failure::Raised(raised)));
        Ok(failed.or_else(|| closed.err()))
    }

    fn deliver(
        &self,
        py: Python<'_>,
        body: &Bound<'_, PyAny>,
        start: &Bound<'_, StartResponse>,
    ) -> Result<(), Failure> {
        if let Some(only) = only_item(body)? {
            let data = bytes(&only)?;
            return Ok(start.borrow_mut().whole(py, data.as_bytes())?);
        }
        if body.get_type().is(&self.file_wrapper)
            && let Some(extent) = file_wrapper::extent(body)?
        {
            return Ok(start.borrow_mut().file(py, extent)?);
        }
        for item in body.try_iter()? {
            let item = item?;
            let data = bytes(&item)?.as_bytes();
            if !data.is_empty() && start.borrow_mut().part(py, data)? == Wants::Nothing {
                break;
            }
        }
        Ok(start.borrow_mut().end(py)?)
    }
}

/// The item of a list or tuple of one, since then the length of the body is known beforehand.
fn only_item<'py>(body: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    if let Ok(list) = body.cast_exact::<PyList>() {
        return if list.len() == 1 {
            list.get_item(0).map(Some)
        } else {
            Ok(None)
        };
    }
    match body.cast_exact::<PyTuple>() {
        Ok(tuple) if tuple.len() == 1 => tuple.get_item(0).map(Some),
        _ => Ok(None),
    }
}

fn bytes<'a, 'py>(item: &'a Bound<'py, PyAny>) -> PyResult<&'a Bound<'py, PyBytes>> {
    item.cast().map_err(|_| {
        let kind = item
            .get_type()
            .name()
            .map_or_else(|_| "something else".to_owned(), |name| name.to_string());
        PyTypeError::new_err(format!("the application must give bytes, not {kind}"))
    })
}

fn close(body: &Bound<'_, PyAny>) -> PyResult<()> {
    if body.is_exact_instance_of::<PyList>() || body.is_exact_instance_of::<PyTuple>() {
        return Ok(());
    }
    if let Some(close) = body.getattr_opt(intern!(body.py(), "close"))? {
        close.call0()?;
    }
    Ok(())
}

fn give_up(
    py: Python<'_>,
    request: &Request<'_>,
    start: &Bound<'_, StartResponse>,
    failure: &Failure,
) -> Option<String> {
    let mut state = start.borrow_mut();
    state.break_off(py);
    let gone = state.client_has_gone();
    // Released before logging, which runs code of the application.
    drop(state);
    if gone {
        let (method, path) = place(request);
        debug!(%method, %path, "the client has gone");
        return None;
    }
    Some(log(py, request, failure))
}

/// Logs a failure, and returns it.
fn log(py: Python<'_>, request: &Request<'_>, failure: &Failure) -> String {
    let (method, path) = place(request);
    let reason = match failure {
        Failure::Raised(raised) => {
            error!(%method, %path, error = %prelude::summary(py, raised), "the application failed");
            return prelude::log_traceback(py, raised);
        }
        Failure::Refused(Refused::NotStarted) => {
            error!(%method, %path, "the application did not call start_response");
            "the application did not call start_response"
        }
        Failure::Refused(Refused::Short(missing)) => {
            error!(%method, %path, missing, "the application gave less than its Content-Length: broken off");
            "the application gave less than its Content-Length"
        }
        Failure::Refused(Refused::HeadTooLarge(bytes)) => {
            error!(%method, %path, bytes, most = MAX_HEAD, "the application's response headers are too large");
            "the application's response headers are too large"
        }
        Failure::Refused(Refused::Gone) => {
            debug!(%method, %path, "the client has gone");
            "the client has gone"
        }
    };
    reason.to_owned()
}

fn place<'a>(request: &Request<'a>) -> (std::borrow::Cow<'a, str>, std::borrow::Cow<'a, str>) {
    (
        String::from_utf8_lossy(request.method),
        String::from_utf8_lossy(request.path),
    )
}
