//! What the front is started with.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use crate::access_log::AccessLog;
use crate::respond::Health;

/// A socket on which connections arrive.
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

/// Tells how many bytes a socket holds that the other side has not taken.
pub type Untaken = fn(BorrowedFd<'_>) -> io::Result<usize>;

/// What the options say about connections and requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// How long an idle connection is kept for its next request; zero closes after each answer.
    pub keep_alive: Duration,
    /// How long a request's head may take.
    pub header_timeout: Duration,
    /// The longest pause in a body.
    pub body_timeout: Duration,
    /// Bytes a second that a body must have brought on average once `body_timeout` has passed since it began; 0 allows
    /// any rate. The same of an answer that its client has been slow to take for `send_timeout`.
    pub min_rate: u64,
    /// How long a client may take nothing of its answer.
    pub send_timeout: Duration,
    /// How long a request waits for a thread, after which the answer is 503.
    pub queue_timeout: Duration,
    /// Bytes of the request line, above which the answer is 414.
    pub limit_request_line: usize,
    /// Header fields of a request, above which the answer is 431.
    pub limit_request_fields: usize,
    /// Bytes of one header field, name and value, above which the answer is 431.
    pub limit_request_field_size: usize,
    /// Bytes of a body, above which the answer is 413.
    pub limit_request_body: u64,
    /// Bytes of memory that bodies and answers for slow clients may take together.
    pub buffer_memory: usize,
    /// Where bodies and answers for slow clients lie that are too large for memory; the folder for temporary files when none
    /// is given.
    pub buffer_dir: Option<PathBuf>,
    /// Bytes that these files may have together.
    pub buffer_disk: u64,
    /// A connection may speak HTTP/2 if it begins so.
    pub http2: bool,
    /// Connections at the same time; further ones wait in the listeners' backlog.
    pub max_connections: usize,
    /// Where the front tells how the server is, if anywhere.
    pub health: Option<Health>,
}

/// What the front needs of the process that it runs in.
#[derive(Debug)]
pub struct Surroundings {
    /// How it is found out whether a client takes its answer, which is the kernel's to tell.
    pub untaken: Untaken,
    /// Gives memory that is free back to the kernel. Called some time after connections have ended.
    pub give_back_memory: fn(),
    /// Where each request leaves a line, if anywhere.
    pub access_log: Option<AccessLog>,
}
