//! The front serves all connections, from accept to close.
//!
//! One process, no Python, and one thread for all connections. A request passes through this crate from top to
//! bottom: `server` accepts the connection, `http1` or `http2` reads the request and writes the response, and
//! `handler` selects who responds: the front itself, or the application (`respond`), which is reached through the
//! exchange (`upstream`). They share `http`, which is independent of sockets, and `net`, which is independent of
//! HTTP.
//!
//! Not here: the choice of a child (any idle thread takes the request by itself), and the handling of dead children
//! (the supervisor reports them by [`exchange::notice`]).

#![forbid(unsafe_code)]
#![cfg_attr(
    test,
    allow(clippy::disallowed_methods, reason = "no connection waits for a test")
)]

pub mod access_log;

mod alloc;
mod config;
mod context;
mod disk;
mod handler;
mod http;
mod http1;
mod http2;
mod memory;
mod net;
mod park;
mod respond;
mod server;
mod supervisor_link;
#[cfg(test)]
mod testing;
mod timing;
mod upstream;

use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;

use exchange::{ChildId, Exchange};
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::watch;
use tokio::task::spawn_local;

pub use config::{Listening, Place, Settings, Surroundings, Untaken};
pub use respond::{Health, HealthError};

use access_log::Log;
use context::Context;
use handler::Site;
use respond::websocket::WebSockets;
use supervisor_link::Link;

/// Serves until the supervisor sends the order to end, or has died.
///
/// `link` is the channel to the supervisor, which carries [`exchange::notice`] messages; `children` are the
/// processes of the children that were born earlier, which the supervisor does not report again.
///
/// # Errors
/// When the runtime or a socket cannot be set up.
pub fn serve(
    settings: Settings,
    surroundings: Surroundings,
    exchange: Arc<Exchange>,
    listeners: Vec<Listening>,
    link: OwnedFd,
    children: &[(ChildId, u32)],
) -> io::Result<()> {
    let runtime = Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_blocking_threads(disk::THREADS)
        .thread_stack_size(disk::STACK)
        .thread_name("disk")
        .on_thread_park(park::before_park)
        .on_thread_unpark(park::after_unpark)
        .build_local(LocalOptions::default())?;
    alloc::keep();
    let Surroundings {
        untaken,
        give_back_memory,
        access_log,
    } = surroundings;
    let log = access_log.map(Log::open).transpose()?;
    let (drain_sender, draining) = watch::channel(false);
    let context = Rc::new(Context::new(settings, untaken, log.clone(), draining));
    let served = runtime.block_on(async {
        let link = Rc::new(Link::open(link)?);
        let supervisor = Rc::clone(&link);
        let upstream = upstream::open(exchange, Rc::clone(&context), supervisor, children)?;
        park::set(park::Turn {
            context: Rc::clone(&context),
            upstream: Rc::clone(&upstream),
        });
        let site = Site {
            context: Rc::clone(&context),
            upstream: Rc::clone(&upstream),
            websockets: WebSockets::default(),
        };
        spawn_local(alloc::give_back(Rc::clone(&context), give_back_memory));
        let drain = server::start(site, listeners, drain_sender)?;
        supervisor_link::follow(&link, &context, &upstream, drain).await
    });
    // Connections that end now are logged too.
    log.iter().for_each(Log::end);
    // Does not wait for blocked disk operations.
    runtime.shutdown_background();
    park::unset();
    log.iter().for_each(Log::close);
    served
}
