//! What a client is told that is not served, and what stands in for an answer that never came.

use std::fmt;

use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};

use crate::answer::Body;

/// For a head that did not come in time (RFC 9110 section 15.5.9); hyper has no request to answer then.
pub(crate) const HEAD_TOO_SLOW: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// Why a request is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The target is longer than `--limit-request-line`.
    TargetTooLong,
    /// A field is longer than `--limit-request-field-size`, or all of them are too much for the exchange.
    HeadTooLarge,
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
    /// The application failed before it answered, or answered what HTTP cannot say.
    ApplicationFailed,
    /// The child died before it answered.
    ChildLost,
}

impl Refusal {
    fn status(self) -> StatusCode {
        match self {
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyTooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::BodyBroken => StatusCode::BAD_REQUEST,
            Self::NoStorage | Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::ApplicationFailed => StatusCode::INTERNAL_SERVER_ERROR,
            Self::ChildLost => StatusCode::BAD_GATEWAY,
        }
    }

    /// Whether the rest of the request stays unread, so that the connection cannot go on.
    fn leaves_a_rest(self) -> bool {
        matches!(
            self,
            Self::TargetTooLong
                | Self::HeadTooLarge
                | Self::BodyTooLarge
                | Self::BodyTooSlow
                | Self::BodyBroken
                | Self::NoStorage
        )
    }

    /// The answer in place of the application's.
    pub(crate) fn response(self) -> Response<Body> {
        let status = self.status();
        let text = format!("{status}\n");
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
        if self.leaves_a_rest() {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        *response.body_mut() = Body::whole(text.into());
        *response.status_mut() = status;
        response
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.status())
    }
}

impl std::error::Error for Refusal {}
