//! `--health`: readiness and liveness of the server, reported by the front itself in every state.
//!
//! It is an ordinary request: the limits for head, body and connection apply, and it is logged.

use std::fmt;

use exchange::{ChildState, Scoreboard};
use http::StatusCode;

use crate::http::Response;
use crate::http::parse::is_target;

/// Suffix of the readiness path that gives the liveness path.
const LIVE: &str = "/live";

/// The path of the health check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// The readiness path, as in a request line. The liveness path is this with `/live`.
    path: String,
}

/// An invalid path, or one that would hide the application. Displayed as the end of a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthError;

impl fmt::Display for HealthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "must be `off` or a path such as /-/healthz: percent-encoded, without a query and without / at its end",
        )
    }
}

impl std::error::Error for HealthError {}

impl Health {
    /// Sets the readiness path.
    ///
    /// # Errors
    /// When the path does not begin with `/`, ends with it, or has characters that are invalid in a path (RFC 3986
    /// section 3.3).
    pub fn at(path: &str) -> Result<Self, HealthError> {
        let is_of_path = |byte: &u8| *byte != b'?' && byte.is_ascii() && is_target(*byte);
        let is_good = path.starts_with('/') && !path.ends_with('/');
        if !is_good || !path.as_bytes().iter().all(is_of_path) {
            return Err(HealthError);
        }
        Ok(Self {
            path: path.to_owned(),
        })
    }

    /// Which probe this path requests, if any.
    pub(crate) fn asked(&self, path: &[u8]) -> Option<Probe> {
        match path.strip_prefix(self.path.as_bytes())? {
            b"" => Some(Probe::Ready),
            below => (below == LIVE.as_bytes()).then_some(Probe::Live),
        }
    }
}

/// The kind of probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Probe {
    Ready,
    Live,
}

/// The state of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The front answers.
    Live,
    /// A child accepts requests, though it may be busy.
    Ready,
    /// Children are starting, and none accepts requests yet.
    Starting,
    /// No child accepts requests, and none is starting.
    NoChild,
    /// The server has been told to stop, and serves the remaining requests.
    Stopping,
}

impl State {
    fn readiness(board: Scoreboard<'_>) -> Self {
        let children = board.children();
        let any = |state| children.iter().any(|child| child.state() == state);
        // Before the first child is ordered, the mold loads the application.
        let is_new = || children.iter().all(|child| child.generation() == 0);
        if any(ChildState::Ready) {
            Self::Ready
        } else if any(ChildState::Starting) || is_new() {
            Self::Starting
        } else {
            Self::NoChild
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Ready => "ready",
            Self::Starting => "starting",
            Self::NoChild => "no child",
            Self::Stopping => "stopping",
        }
    }

    fn status(self) -> StatusCode {
        match self {
            Self::Live | Self::Ready => StatusCode::OK,
            Self::Starting | Self::NoChild | Self::Stopping => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// The response to a health request with this method. `is_stopping` when the server has been told to stop.
pub(crate) fn respond<'b>(
    method: &[u8],
    asked: Probe,
    is_stopping: bool,
    board: impl FnOnce() -> Scoreboard<'b>,
) -> Response {
    let no_store = ("Cache-Control", "no-store");
    if !matches!(method, b"GET" | b"HEAD") {
        return Response::text(
            StatusCode::METHOD_NOT_ALLOWED,
            "method not allowed\n".to_owned(),
            &[no_store, ("Allow", "GET, HEAD")],
        );
    }
    let state = match asked {
        Probe::Live => State::Live,
        Probe::Ready if is_stopping => State::Stopping,
        Probe::Ready => State::readiness(board()),
    };
    Response::text(state.status(), format!("{}\n", state.text()), &[no_store])
}

#[cfg(test)]
mod tests {
    use exchange::{Exchange, Geometry};

    use super::*;

    #[test]
    fn a_path_is_one_that_a_request_may_have() {
        for path in ["/-/healthz", "/health", "/a%20b/c", "//x", "/a;b=c"] {
            assert_eq!(Health::at(path).map(|health| health.path), Ok(path.into()));
        }
        for path in [
            "",
            "/",
            "/health/",
            "health",
            "*",
            "/a?b",
            "/a#b",
            "/a b",
            "/a\r\n",
            "/\u{e4}",
            "http://localhost/health",
        ] {
            assert_eq!(Health::at(path), Err(HealthError), "{path:?}");
        }
    }

    #[test]
    fn only_the_exact_paths_are_probes() {
        let health = Health::at("/-/healthz").unwrap();
        assert_eq!(health.asked(b"/-/healthz"), Some(Probe::Ready));
        assert_eq!(health.asked(b"/-/healthz/live"), Some(Probe::Live));
        for path in [
            "/",
            "*",
            "/-/health",
            "/-/healthz/",
            "/-/healthzz",
            "/-/HEALTHZ",
            "/-/healthz/live/",
            "/-/healthz/ready",
            "/a/-/healthz",
        ] {
            assert_eq!(health.asked(path.as_bytes()), None, "{path}");
        }
    }

    #[test]
    fn one_child_that_takes_requests_is_enough() {
        let exchange = Exchange::create(Geometry {
            children: 3,
            threads: 1,
            queue: 4,
        })
        .unwrap();
        let board = exchange.scoreboard();
        let state = || State::readiness(board);
        assert_eq!(state(), State::Starting, "nobody was ever there");
        board.child(1).begin(1, 1);
        assert_eq!(state(), State::Starting);
        board.child(1).set_state(ChildState::Ready);
        assert_eq!(state(), State::Ready);
        board.child(0).begin(1, 2);
        assert_eq!(state(), State::Ready, "another one starts");
        for (one, expected) in [
            (ChildState::Draining, State::Starting),
            (ChildState::Gone, State::Starting),
            (ChildState::Vacant, State::Starting),
        ] {
            board.child(1).set_state(one);
            assert_eq!(state(), expected, "{one:?} and one that starts");
        }
        for one in [ChildState::Draining, ChildState::Gone, ChildState::Vacant] {
            board.child(0).set_state(one);
            assert_eq!(state(), State::NoChild, "{one:?}");
        }
    }
}
