//! Requests for a WebSocket (RFC 6455): PEP 3333 has none, so they cost no thread of the application and no traceback each.

use std::cell::Cell;

use tracing::warn;

use crate::http::{ErrorResponse, RequestHead};

/// Those that have been refused.
#[derive(Debug, Default)]
pub(crate) struct WebSockets {
    refused: Cell<u64>,
}

impl WebSockets {
    /// The response to one. The log tells the first, and whenever there have been twice as many.
    pub(crate) fn refuse(&self, head: &RequestHead) -> ErrorResponse {
        let times = self.refused.get() + 1;
        self.refused.set(times);
        if times.is_power_of_two() {
            let path = String::from_utf8_lossy(head.target().path);
            warn!(%path, times, "a client asks for a WebSocket, which no WSGI application can serve: refused with 501");
        }
        ErrorResponse::NoWebSocket
    }
}
