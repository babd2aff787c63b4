//! What a client is told that is not served, and what stands in for an answer that never came.

use std::fmt;
use std::time::SystemTime;

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};

use crate::answer::Body;
use crate::strict::Fault;

/// Why a request is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It is not HTTP, or can be read in two ways.
    Malformed,
    /// The version is neither 1.0 nor 1.1.
    UnknownVersion,
    /// The method is CONNECT, or the transfer coding is none that is known.
    NotServed,
    /// The head took longer than `--header-timeout`.
    HeadTooSlow,
    /// The request line is longer than `--limit-request-line`.
    LineTooLong,
    /// A field is longer than `--limit-request-field-size`, there are more than `--limit-request-fields`, or all of them
    /// are too much for the exchange.
    HeadTooLarge,
    /// The client expects something other than `100-continue` (RFC 9110 section 10.1.1).
    UnknownExpectation,
    /// The body is larger than `--limit-request-body`.
    BodyTooLarge,
    /// The body paused for longer than `--body-timeout`.
    BodyTooSlow,
    /// The body is not what its framing says.
    BodyBroken,
    /// The body could not be stored.
    NoStorage,
    /// The queue is full.
    Busy,
    /// No thread took the request within `--queue-timeout`.
    QueuedTooLong,
    /// The application failed before it answered, or answered what HTTP cannot say.
    ApplicationFailed,
    /// The child died before it answered.
    ChildLost,
}

impl Refusal {
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::Malformed | Self::BodyBroken => StatusCode::BAD_REQUEST,
            Self::UnknownVersion => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::NotServed => StatusCode::NOT_IMPLEMENTED,
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

    /// The body of the answer.
    pub(crate) fn text(self) -> String {
        format!("{self}\n")
    }

    /// Whether the connection goes on: the request was read to its end.
    pub(crate) fn keeps_connection(self) -> bool {
        matches!(
            self,
            Self::Busy | Self::QueuedTooLong | Self::ApplicationFailed | Self::ChildLost
        )
    }

    /// The answer in place of the application's.
    pub(crate) fn response(self) -> Response<Body> {
        let (status, text) = (self.status(), self.text());
        let mut response = Response::new(Body::empty());
        let headers = response.headers_mut();
        headers.insert(CONTENT_LENGTH, HeaderValue::from(text.len()));
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        );
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        *response.body_mut() = Body::whole(text.into());
        *response.status_mut() = status;
        response
    }

    /// The same where hyper has no request to answer: the last bytes of the connection.
    pub(crate) fn bytes(self) -> Vec<u8> {
        let (status, text) = (self.status(), self.text());
        let date = httpdate::fmt_http_date(SystemTime::now());
        format!(
            "HTTP/1.1 {status}\r\ncontent-length: {}\r\ncontent-type: text/plain; charset=utf-8\r\n\
             connection: close\r\ndate: {date}\r\n\r\n{text}",
            text.len(),
        )
        .into_bytes()
    }
}

impl From<Fault> for Refusal {
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

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.status())
    }
}

impl std::error::Error for Refusal {}
