//! The front: every connection lives here, from its acceptance to its last byte.
//!
//! One process, one thread, no Python. A request's way through this crate, from top to bottom:
//! `accept` takes the connection, `connection` watches over its time limits while hyper reads the head, and
//! `request` is the rest of the journey: checks, the whole body (`body`), a place in the exchange (`counter`), and the
//! answer's way back (`answer`). What cannot be served is told to the client by `refuse`, and how the server is by
//! `health`.
//!
//! Not here: which child takes a request (any idle thread does, by itself), and what becomes of dead children (the
//! supervisor tells, by [`exchange::notice`]).

#![forbid(unsafe_code)]

pub mod access;

mod accept;
mod answer;
mod body;
mod clock;
mod connection;
mod counter;
mod file;
mod health;
mod heard;
mod link;
mod memory;
mod plain;
mod refuse;
mod request;
mod strict;
mod taking;
mod wire;

use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use access::AccessLog;
use exchange::{ChildId, Exchange};
pub use health::{Health, HealthError};
pub use taking::Untaken;
use tokio::runtime::{Builder, LocalOptions};

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

/// What bounds a connection and a request.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long an idle connection is kept for its next request; zero closes after each answer.
    pub keep_alive: Duration,
    /// How long a request's head may take.
    pub header_timeout: Duration,
    /// The longest pause in a body.
    pub body_timeout: Duration,
    /// Bytes a second that a body must have brought on average once `body_timeout` has passed since it began; 0 allows
    /// any rate.
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
    /// Connections at the same time; further ones wait in the listeners' backlog.
    pub max_connections: usize,
    /// Where the front tells how the server is, if anywhere.
    pub health: Option<Health>,
    /// How it is found out whether a client takes its answer, which is the kernel's to tell.
    pub untaken: Untaken,
    /// Where each request leaves a line, if anywhere.
    pub access_log: Option<AccessLog>,
}

/// Serves until the supervisor says that it is enough, or is gone.
///
/// `link` is the channel to the supervisor, which carries [`exchange::notice`] messages; `children` are the processes of
/// those children of which the supervisor tells nothing more, since they were born before.
///
/// # Errors
/// When the runtime or a socket cannot be set up.
pub fn serve(
    settings: Settings,
    exchange: Arc<Exchange>,
    listeners: Vec<Listening>,
    link: OwnedFd,
    children: &[(ChildId, u32)],
) -> io::Result<()> {
    let runtime = Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .on_thread_park(|| {
            counter::before_sleep();
            access::before_sleep();
        })
        .on_thread_unpark(counter::after_sleep)
        .build_local(LocalOptions::default())?;
    memory::keep();
    if let Some(log) = settings.access_log.clone() {
        access::open(log)?;
    }
    let served = runtime.block_on(async {
        let link = Rc::new(link::Link::open(link)?);
        counter::open(exchange, Rc::clone(&link), children)?;
        let drain = accept::start(Rc::new(settings), listeners)?;
        link::follow(&link, drain).await
    });
    // Connections that end now leave their lines, too.
    access::end();
    drop(runtime);
    access::close();
    served
}
