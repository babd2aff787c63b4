//! Responses of the front itself in place of the application's.

use std::fmt;

use http::StatusCode;

use super::body::NoStorage;
use super::parse::Fault;
use super::response::Response;

/// Why a request is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ErrorResponse {
    /// It is not HTTP, or is ambiguous.
    Malformed,
    /// The version is neither 1.0 nor 1.1.
    UnknownVersion,
    /// The method is CONNECT, or the transfer coding is unknown.
    NotServed,
    /// It asks for a WebSocket.
    NoWebSocket,
    /// The head took longer than `--header-timeout`.
    HeadTooSlow,
    /// The request line is longer than `--limit-request-line`.
    LineTooLong,
    /// A field is longer than `--limit-request-field-size`, there are more than `--limit-request-fields`, or the
    /// head does not fit into the exchange.
    HeadTooLarge,
    /// The client expects something other than `100-continue` (RFC 9110 section 10.1.1).
    UnknownExpectation,
    /// The body is larger than `--limit-request-body`.
    BodyTooLarge,
    /// The body paused for longer than `--body-timeout`.
    BodyTooSlow,
    /// The body violates its framing.
    BodyBroken,
    /// The body could not be stored.
    NoStorage,
    /// The queue is full.
    Busy,
    /// No thread took the request within `--queue-timeout`.
    QueuedTooLong,
    /// The application failed before its response began, or its response cannot be expressed in HTTP.
    ApplicationFailed,
    /// The child died before its response began.
    ChildLost,
}

impl ErrorResponse {
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::Malformed | Self::BodyBroken => StatusCode::BAD_REQUEST,
            Self::UnknownVersion => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::NotServed | Self::NoWebSocket => StatusCode::NOT_IMPLEMENTED,
            Self::LineTooLong => StatusCode::URI_TOO_LONG,
            Self::UnknownExpectation => StatusCode::EXPECTATION_FAILED,
            Self::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::HeadTooSlow | Self::BodyTooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::NoStorage | Self::Busy | Self::QueuedTooLong => StatusCode::SERVICE_UNAVAILABLE,
            Self::ApplicationFailed => StatusCode::INTERNAL_SERVER_ERROR,
            Self::ChildLost => StatusCode::BAD_GATEWAY,
        }
    }

    /// The body of the response.
    pub(crate) fn text(self) -> String {
        format!("{self}\n")
    }

    /// The response in place of the application's.
    pub(crate) fn response(self) -> Response {
        let retry: &[_] = match self.status() {
            StatusCode::SERVICE_UNAVAILABLE => &[("Retry-After", "1")],
            _ => &[],
        };
        Response::text(self.status(), self.text(), retry)
    }
}

impl From<NoStorage> for ErrorResponse {
    fn from(NoStorage: NoStorage) -> Self {
        Self::NoStorage
    }
}

impl From<Fault> for ErrorResponse {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Malformed => Self::Malformed,
            Fault::LineTooLong => Self::LineTooLong,
            Fault::HeadTooLarge => Self::HeadTooLarge,
            Fault::Version => Self::UnknownVersion,
            Fault::NotServed => Self::NotServed,
        }
    }
}

impl fmt::Display for ErrorResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.status())
    }
}

impl std::error::Error for ErrorResponse {}
