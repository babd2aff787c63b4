//! `start_response` and `write`: the head of the answer, and how far the answer has been sent.
//!
//! One object for each request is both: the application gets its method `start_response`, and the object itself is `write`.

use std::thread::ThreadId;

use exchange::{After, Extent, Gone, Head, MAX_HEAD, Reply};
use pyo3::exceptions::{PyAssertionError, PyBrokenPipeError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use scoped_tls_hkt::scoped_thread_local;

use crate::response_start::ResponseStart;

scoped_thread_local!(
        /// The reply to the request that runs on this thread.
    static mut REPLY: for<'a> &'a mut (dyn Reply + 'a)
);

/// Runs `call` with `reply` as this thread's reply.
pub(crate) fn with_reply<T>(reply: &mut dyn Reply, call: impl FnOnce() -> T) -> T {
    REPLY.set(reply, call)
}

/// How far the answer has been sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing has been sent.
    Before,
    /// The head has been sent. `left` are the missing bytes of an announced length, never 0.
    Streaming { left: Option<u64> },
    /// The last part has been sent.
    Ended,
    /// The client has gone, or the front has given the request up.
    Gone,
}

/// Why a part cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The application has not called `start_response`.
    NotStarted,
    /// The application gave so many bytes less than it announced.
    Short(u64),
    /// The head has so many bytes, more than can be sent.
    HeadTooLarge(usize),
    /// The client has gone.
    Gone,
}

/// Whether further parts may follow a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wants {
    /// Yes.
    More,
    /// No: the answer is complete.
    Nothing,
}

/// One request's `start_response`, `write`, and answer.
#[pyclass(module = "rwsgi", name = "StartResponse")]
#[derive(Debug)]
pub(crate) struct StartResponse {
    /// The request is HEAD: its answer has no body, whatever the application gives.
    head_only: bool,
    response_start: Option<ResponseStart>,
    /// Buffers of the former answer, to be reused.
    unused: ResponseStart,
    phase: Phase,
    /// Bytes beyond the announced length, which were not sent.
    surplus: u64,
    /// The thread that runs the request, one at a time.
    thread: ThreadId,
    /// The request has ended: an application that kept this object cannot write into the next request's answer.
    ended: bool,
}

#[pymethods]
impl StartResponse {
    #[pyo3(name = "start_response", signature = (status, headers, exc_info=None))]
    fn begin<'py>(
        slf: Bound<'py, Self>,
        status: &Bound<'py, PyAny>,
        headers: &Bound<'py, PyAny>,
        exc_info: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, Self>> {
        let unused = std::mem::take(&mut slf.try_borrow_mut()?.unused);
        // Checked without a borrow of this object, since it may run code of the application.
        let start = unused.check(status, headers)?;
        let mut this = slf.try_borrow_mut()?;
        if this.ended {
            return Err(ended());
        }
        match exc_info {
            Some(exc_info) if this.phase != Phase::Before => {
                // The head of the former answer has been sent, so the error is raised again and breaks the answer off.
                return Err(PyErr::from_value(exc_info.get_item(1)?));
            }
            None if this.response_start.is_some() => {
                return Err(PyAssertionError::new_err(
                    "start_response was called before, and there is no exc_info",
                ));
            }
            _ => this.response_start = Some(start),
        }
        drop(this);
        Ok(slf)
    }

    /// `write` of PEP 3333.
    fn __call__(&mut self, py: Python<'_>, data: &Bound<'_, PyBytes>) -> PyResult<()> {
        if self.ended {
            return Err(ended());
        }
        // On another thread the data would be sent as a part of the answer to that thread's request.
        if !REPLY.is_set() || self.thread != std::thread::current().id() {
            return Err(PyRuntimeError::new_err(
                "write() works in the thread that runs the request, and only there",
            ));
        }
        let data = data.as_bytes();
        if data.is_empty() {
            return Ok(());
        }
        let surplus = self.surplus;
        match self.part(py, data) {
            Ok(_) if self.surplus > surplus => Err(PyValueError::new_err(
                "the application writes more than its Content-Length",
            )),
            Ok(_) => Ok(()),
            Err(Refused::Gone) => Err(PyBrokenPipeError::new_err("the client has gone")),
            Err(Refused::HeadTooLarge(bytes)) => Err(PyValueError::new_err(format!(
                "the response headers have {bytes} bytes, more than {MAX_HEAD}"
            ))),
            Err(Refused::NotStarted | Refused::Short(_)) => Err(PyRuntimeError::new_err(
                "write() comes after start_response",
            )),
        }
    }
}

fn ended() -> PyErr {
    PyRuntimeError::new_err("the request that this start_response belongs to is over")
}

impl StartResponse {
    pub(crate) fn new(head_only: bool) -> Self {
        Self {
            head_only,
            response_start: None,
            unused: ResponseStart::default(),
            phase: Phase::Before,
            surplus: 0,
            thread: std::thread::current().id(),
            ended: false,
        }
    }

    /// Prepares for the next request; of the former answer only the buffers stay.
    pub(crate) fn renew(&mut self, head_only: bool) {
        let unused = self.response_start.take().unwrap_or_default();
        *self = Self {
            unused,
            ..Self::new(head_only)
        };
    }

    /// Replaces the application's head by one of the server's own.
    pub(crate) fn replace(&mut self, start: ResponseStart) {
        self.response_start = Some(start);
    }

    /// Sends a part of the body, and the head with the first one. The part must not be empty.
    pub(crate) fn part(&mut self, py: Python<'_>, data: &[u8]) -> Result<Wants, Refused> {
        let left = match self.phase {
            Phase::Before => {
                self.response_start
                    .as_ref()
                    .ok_or(Refused::NotStarted)?
                    .length
            }
            Phase::Streaming { left } => left,
            Phase::Ended => {
                if !self.bodyless() {
                    self.surplus += data.len() as u64;
                }
                return Ok(Wants::Nothing);
            }
            Phase::Gone => return Err(Refused::Gone),
        };
        if self.bodyless() {
            self.send(py, &[], After::Complete)?;
            return Ok(Wants::Nothing);
        }
        let Some(left) = left else {
            self.send(py, data, After::More)?;
            return Ok(Wants::More);
        };
        let fitting = usize::try_from(left).map_or(data.len(), |left| left.min(data.len()));
        self.surplus += (data.len() - fitting) as u64;
        let left = left - fitting as u64;
        let (after, wants) = if left == 0 {
            (After::Complete, Wants::Nothing)
        } else {
            (After::More, Wants::More)
        };
        self.send(py, &data[..fitting], after)?;
        if let Phase::Streaming { left: known } = &mut self.phase {
            *known = Some(left);
        }
        Ok(wants)
    }

    /// Sends a body of one part, and its length.
    pub(crate) fn whole(&mut self, py: Python<'_>, data: &[u8]) -> Result<(), Refused> {
        // An empty body in answer to HEAD does not give the length that GET would have.
        let is_length_known = !(self.head_only && data.is_empty());
        if let (Phase::Before, Some(start)) = (self.phase, &mut self.response_start)
            && is_length_known
            && start.has_body()
        {
            start.length.get_or_insert(data.len() as u64);
        }
        if !data.is_empty() {
            self.part(py, data)?;
        }
        self.end(py)
    }

    /// Sends the rest of a file as the body, or as much of it as was announced: by PEP 3333 a Content-Length may be smaller.
    pub(crate) fn file(&mut self, py: Python<'_>, mut extent: Extent) -> Result<(), Refused> {
        let bodyless = self.bodyless();
        let announced = match self.phase {
            Phase::Before => {
                let start = self.response_start.as_mut().ok_or(Refused::NotStarted)?;
                if start.has_body() {
                    start.length.get_or_insert(extent.length);
                }
                start.length
            }
            Phase::Streaming { left } => left,
            Phase::Ended => return Ok(()),
            Phase::Gone => return Err(Refused::Gone),
        };
        let announced = announced.unwrap_or(extent.length);
        if bodyless || announced == 0 {
            return self.send(py, &[], After::Complete);
        }
        match announced.checked_sub(extent.length) {
            None | Some(0) => extent.length = announced,
            Some(missing) => return Err(Refused::Short(missing)),
        }
        self.carry(py, 0, After::File, |reply, head| {
            reply.send_file(head, extent)
        })
    }

    /// The application has returned all parts.
    pub(crate) fn end(&mut self, py: Python<'_>) -> Result<(), Refused> {
        match self.phase {
            Phase::Ended => Ok(()),
            Phase::Gone => Err(Refused::Gone),
            Phase::Streaming { left: Some(left) } => Err(Refused::Short(left)),
            Phase::Streaming { left: None } => self.send(py, &[], After::Complete),
            Phase::Before => {
                let bodyless = self.bodyless();
                let start = self.response_start.as_mut().ok_or(Refused::NotStarted)?;
                if !bodyless {
                    match *start.length.get_or_insert(0) {
                        0 => {}
                        missing => return Err(Refused::Short(missing)),
                    }
                }
                self.send(py, &[], After::Complete)
            }
        }
    }

    /// The application has failed: the client must not take the answer for complete.
    pub(crate) fn break_off(&mut self, py: Python<'_>) {
        if !matches!(self.phase, Phase::Ended | Phase::Gone) {
            // It fails when the client has gone, which makes no difference.
            let _ = self.send(py, &[], After::Broken);
        }
    }

    /// The request has ended. Returns how many bytes beyond the announced length were dropped.
    pub(crate) fn close(&mut self) -> u64 {
        self.ended = true;
        self.surplus
    }

    pub(crate) fn client_has_gone(&self) -> bool {
        self.phase == Phase::Gone
    }

    fn bodyless(&self) -> bool {
        self.head_only
            || self
                .response_start
                .as_ref()
                .is_some_and(|start| !start.has_body())
    }

    fn send(&mut self, py: Python<'_>, data: &[u8], after: After) -> Result<(), Refused> {
        self.carry(py, data.len(), after, |reply, head| {
            reply.send(head, data, after)
        })
    }

    /// Sends a part with so many bytes of data by `send`, with the head in the first part.
    fn carry(
        &mut self,
        py: Python<'_>,
        bytes: usize,
        after: After,
        send: impl FnOnce(&mut dyn Reply, Option<&Head<'_>>) -> Result<(), Gone> + Send,
    ) -> Result<(), Refused> {
        let head = match &mut self.response_start {
            Some(start) if self.phase == Phase::Before && after != After::Broken => {
                Some(start.head())
            }
            _ => None,
        };
        let head_size = head.as_ref().map_or(0, Head::encoded_len);
        if head_size > MAX_HEAD {
            return Err(Refused::HeadTooLarge(head_size));
        }
        let sent = REPLY.with(|reply| {
            // A file may have to wait for others on the channel of descriptors.
            if after != After::File && reply.fits(head_size + bytes) {
                send(reply, head.as_ref())
            } else {
                py.detach(|| send(reply, head.as_ref()))
            }
        });
        self.phase = match (sent, after) {
            (Err(Gone), _) => Phase::Gone,
            (Ok(()), After::More) => Phase::Streaming { left: None },
            (Ok(()), After::Complete | After::Broken | After::File) => Phase::Ended,
        };
        sent.map_err(|Gone| Refused::Gone)
    }
}
