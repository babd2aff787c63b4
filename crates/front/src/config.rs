//! The settings of the front.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use crate::access_log::AccessLog;
use crate::respond::Health;

/// A listening socket and its address.
#[derive(Debug)]
pub struct Listening {
    /// The listening socket.
    pub socket: OwnedFd,
    /// Where it listens.
    pub place: Place,
}

/// Where a socket listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// On a TCP port; the name is used as `SERVER_NAME` for a request without a Host.
    Tcp {
        /// The local address as text.
        name: String,
        /// The local port.
        port: u16,
    },
    /// On a unix socket.
    Unix,
}

/// Returns how many bytes a socket holds that the peer has not acknowledged.
pub type Untaken = fn(BorrowedFd<'_>) -> io::Result<usize>;

/// The options for connections and requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// How long an idle connection is kept for its next request; zero closes it after each response.
    pub keep_alive: Duration,
    /// How long receiving a request's head may take.
    pub header_timeout: Duration,
    /// The longest pause in a body.
    pub body_timeout: Duration,
    /// The minimum average rate of a request body in bytes per second, checked once `body_timeout` has passed since
    /// its beginning; 0 allows any rate. The same for a response that its client has been slow to read for
    /// `send_timeout`.
    pub min_rate: u64,
    /// How long a client may read nothing of its response.
    pub send_timeout: Duration,
    /// How long a request may wait for a thread before it is answered with 503.
    pub queue_timeout: Duration,
    /// Bytes of the request line, above which the answer is 414.
    pub limit_request_line: usize,
    /// Header fields of a request, above which the answer is 431.
    pub limit_request_fields: usize,
    /// Bytes of one header field, name and value, above which the answer is 431.
    pub limit_request_field_size: usize,
    /// Bytes of a body, above which the answer is 413.
    pub limit_request_body: u64,
    /// Bytes of memory for all request bodies and responses to slow clients together.
    pub buffer_memory: usize,
    /// The folder for bodies and responses that do not fit in memory; the folder for temporary files when none is
    /// given.
    pub buffer_dir: Option<PathBuf>,
    /// Bytes of all files in `buffer_dir` together.
    pub buffer_disk: u64,
    /// A connection may begin with HTTP/2 (prior knowledge).
    pub http2: bool,
    /// Open connections; further ones wait in the backlogs of the listeners.
    pub max_connections: usize,
    /// The path of the health check, if any.
    pub health: Option<Health>,
}

/// Functions and descriptors that the front gets from the process that runs it.
#[derive(Debug)]
pub struct Surroundings {
    /// Tells how much of a response a client has not read, by a system call of another crate.
    pub untaken: Untaken,
    /// Returns free memory to the kernel. Called some time after connections have ended.
    pub give_back_memory: fn(),
    /// The access log, if any.
    pub access_log: Option<AccessLog>,
}
