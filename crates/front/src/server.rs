//! Accepts connections: one loop per listener, until the server drains.

use std::io;
use std::net::TcpListener as StdTcp;
use std::os::unix::net::UnixListener as StdUnix;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{JoinSet, spawn_local};
use tokio::time::timeout;
use tracing::{info, warn};

use crate::config::{Listening, Place};
use crate::context::Context;
use crate::handler::{Handler, Site};
use crate::http::Peer;
use crate::http1;
use crate::http2;
use crate::net::{Stream, UNSENT};

/// Pause of a listener after it ran out of descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// State shared by all connections of the server.
struct Shared {
    context: Rc<Context>,
    site: Rc<Site>,
    /// One permit per open connection.
    permits: Arc<Semaphore>,
}

/// Stops accepting, and then ends the connections.
#[derive(Debug)]
pub(crate) struct Drain {
    draining: watch::Sender<bool>,
    context: Rc<Context>,
    listeners: JoinSet<()>,
    permits: Arc<Semaphore>,
    all: u32,
}

enum Listener {
    Tcp {
        socket: TcpListener,
        name: Rc<str>,
        port: u16,
    },
    Unix(UnixListener),
}

/// Starts accepting on each listener. `draining` sets the context's draining flag.
pub(crate) fn start(
    site: Site,
    listeners: Vec<Listening>,
    draining: watch::Sender<bool>,
) -> io::Result<Drain> {
    let context = Rc::clone(&site.context);
    let all = context.settings.max_connections.min(Semaphore::MAX_PERMITS);
    let all = u32::try_from(all).unwrap_or(u32::MAX >> 3);
    let permits = Arc::new(Semaphore::new(all as usize));
    let shared = Rc::new(Shared {
        context: Rc::clone(&context),
        site: Rc::new(site),
        permits: Arc::clone(&permits),
    });
    let mut accepting = JoinSet::new();
    for listening in listeners {
        accepting.spawn_local(accept(Listener::open(listening)?, Rc::clone(&shared)));
    }
    Ok(Drain {
        draining,
        context,
        listeners: accepting,
        permits,
        all,
    })
}

impl Drain {
    /// Makes each further response the last one of its connection: on a new connection the client reaches another
    /// server, if there is one.
    pub(crate) fn close_connections(&self) {
        self.context.closing.set(true);
    }

    /// Returns when every connection has ended.
    pub(crate) async fn run(mut self) {
        // `send` fails when there is no receiver, that is, neither a listener nor a connection.
        let _ = self.draining.send(true);
        self.close_connections();
        while self.listeners.join_next().await.is_some() {}
        info!(
            connections = self.all as usize - self.permits.available_permits(),
            "front draining"
        );
        // All permits are free when no connection is left.
        let _ = self.permits.acquire_many(self.all).await;
    }
}

impl Listener {
    fn open(listening: Listening) -> io::Result<Self> {
        match listening.place {
            Place::Unix => {
                let socket = StdUnix::from(listening.socket);
                socket.set_nonblocking(true)?;
                Ok(Self::Unix(UnixListener::from_std(socket)?))
            }
            Place::Tcp { name, port } => {
                let socket = StdTcp::from(listening.socket);
                socket.set_nonblocking(true)?;
                // Accepted connections inherit both options on Linux. TCP_NODELAY: a small response must not wait
                // for the acknowledgement of the previous one.
                let options = SockRef::from(&socket);
                options.set_tcp_nodelay(true)?;
                options.set_tcp_notsent_lowat(UNSENT)?;
                Ok(Self::Tcp {
                    socket: TcpListener::from_std(socket)?,
                    name: name.into(),
                    port,
                })
            }
        }
    }

    /// Accepts the next connection and spawns its task.
    async fn take(&self, shared: &Rc<Shared>, permit: OwnedSemaphorePermit) -> io::Result<()> {
        match self {
            Self::Tcp { socket, name, port } => {
                let (stream, address) = socket.accept().await?;
                live(stream, Peer::tcp(address, name, *port), shared, permit);
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                live(stream, Peer::unix(), shared, permit);
            }
        }
        Ok(())
    }
}

fn live<S>(stream: S, peer: Peer, shared: &Rc<Shared>, permit: OwnedSemaphorePermit)
where
    S: Stream + 'static,
{
    let shared = Rc::clone(shared);
    spawn_local(async move {
        let mut connection = pin!(converse(stream, peer, &shared));
        std::future::poll_fn(|task| {
            shared.site.step();
            connection.as_mut().poll(task)
        })
        .await;
        drop(permit);
        shared.context.ended.notify_one();
    });
}

/// Serves the version of HTTP with which the connection begins.
async fn converse<S: Stream + 'static>(mut stream: S, peer: Peer, shared: &Shared) {
    let (context, site) = (&shared.context, &shared.site);
    let mut begun = Vec::new();
    if context.settings.http2 {
        let mut draining = context.draining.clone();
        let read = http2::first_bytes(&mut stream, &mut begun);
        let read = timeout(context.settings.header_timeout, read);
        // Once draining, HTTP/1 applies its own limit for a further request.
        let asked_to_drain = draining.wait_for(|draining| *draining);
        if let Some(Err(_) | Ok(Err(_))) = first(read, asked_to_drain).await {
            return;
        }
        if http2::is_preface(&begun) {
            // Boxed because this future is large.
            return Box::pin(http2::serve(stream, peer, context, site)).await;
        }
    }
    http1::serve(stream, begun, peer, context, &**site).await;
}

/// Accepts until the server drains, and then accepts the connections that are already in the backlog.
async fn accept(listener: Listener, shared: Rc<Shared>) {
    let mut draining = shared.context.draining.clone();
    loop {
        let Ok(permit) = Arc::clone(&shared.permits).acquire_owned().await else {
            return;
        };
        let stop = draining.wait_for(|draining| *draining);
        match first(listener.take(&shared, permit), stop).await {
            None => return,
            Some(Ok(())) => {}
            Some(Err(error)) if is_connection_error(&error) => {}
            Some(Err(error)) => {
                warn!(%error, "cannot accept");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// The result of `work`; `None` if `stop` completes first while `work` is pending.
async fn first<T>(work: impl Future<Output = T>, stop: impl Future) -> Option<T> {
    let (mut work, mut stop) = (pin!(work), pin!(stop));
    std::future::poll_fn(|context| match work.as_mut().poll(context) {
        std::task::Poll::Ready(done) => std::task::Poll::Ready(Some(done)),
        std::task::Poll::Pending => stop.as_mut().poll(context).map(|_| None),
    })
    .await
}

/// Whether the error concerns the connection and not the listener: accept(2) reports pending network errors.
fn is_connection_error(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
    )
}
