//! The object behind `start_response`, and the method that goes to the application: both serve one request after the other,
//! unless the application keeps them.

use std::cell::RefCell;

use pyo3::intern;
use pyo3::prelude::*;

use crate::interpreter::references;
use crate::start_response::StartResponse;

thread_local! {
    /// Those of the last request.
    static SPARE: RefCell<Option<(Py<StartResponse>, Py<PyAny>)>> = const { RefCell::new(None) };
}

/// What one request is answered through.
#[derive(Debug)]
pub(crate) struct StartResponsePair<'py> {
    pub(crate) response: Bound<'py, StartResponse>,
    /// Its method of that name.
    pub(crate) start_response: Bound<'py, PyAny>,
}

impl<'py> StartResponsePair<'py> {
    /// That of a request.
    pub(crate) fn of(py: Python<'py>, head_only: bool) -> PyResult<Self> {
        if let Some((response, start_response)) = SPARE.take() {
            let (response, start_response) =
                (response.into_bound(py), start_response.into_bound(py));
            response.borrow_mut().renew(head_only);
            return Ok(Self {
                response,
                start_response,
            });
        }
        let response = Bound::new(py, StartResponse::new(head_only))?;
        let start_response = response.getattr(intern!(py, "start_response"))?;
        Ok(Self {
            response,
            start_response,
        })
    }

    /// Keeps it for the next request, unless the application still has it.
    pub(crate) fn keep(self) {
        // The object is held here and by its method.
        if references(&self.start_response) == 1 && references(&self.response) == 2 {
            SPARE.set(Some((self.response.unbind(), self.start_response.unbind())));
        }
    }
}
