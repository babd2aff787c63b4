//! Reuses the [`StartResponse`] object and its bound method from request to request, unless the application keeps them.

use std::cell::RefCell;

use pyo3::intern;
use pyo3::prelude::*;

use crate::interpreter::references;
use crate::start_response::StartResponse;

thread_local! {
    /// The pair of the last request.
    static SPARE: RefCell<Option<(Py<StartResponse>, Py<PyAny>)>> = const { RefCell::new(None) };
}

/// The objects of one request.
#[derive(Debug)]
pub(crate) struct StartResponsePair<'py> {
    pub(crate) response: Bound<'py, StartResponse>,
    /// Its bound method, which the application gets.
    pub(crate) start_response: Bound<'py, PyAny>,
}

impl<'py> StartResponsePair<'py> {
    /// The pair for a request.
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

    /// Keeps the pair for the next request, unless the application still refers to it.
    pub(crate) fn keep(self) {
        // The object is referred to here and by its method.
        if references(&self.start_response) == 1 && references(&self.response) == 2 {
            SPARE.set(Some((self.response.unbind(), self.start_response.unbind())));
        }
    }
}
