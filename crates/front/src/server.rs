//! Connections arrive here: one loop per listener, and the end of accepting.

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

/// What an out-of-descriptors listener waits before it tries again.
const PAUSE: Duration = Duration::from_millis(100);

/// What every connection of the server shares.
struct Shared {
    context: Rc<Context>,
    site: Rc<Site>,
    /// A permit for each connection that may be open.
    permits: Arc<Semaphore>,
}

/// Ends accepting, then the connections.
#[derive(Debug)]
pub(crate) struct Drain {
    say: watch::Sender<bool>,
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

/// Starts to accept on each listener. `say` is the other end of what the context knows of draining.
pub(crate) fn start(
    site: Site,
    listeners: Vec<Listening>,
    say: watch::Sender<bool>,
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
        say,
        context,
        listeners: accepting,
        permits,
        all,
    })
}

impl Drain {
    /// Has each response from now on be the last of its connection: a client that comes again finds another server, if there
    /// is one by then.
    pub(crate) fn close_connections(&self) {
        self.context.closing.set(true);
    }

    /// Ends when every connection has ended.
    pub(crate) async fn run(mut self) {
        // Nobody listens when there is neither listener nor connection.
        let _ = self.say.send(true);
        self.close_connections();
        while self.listeners.join_next().await.is_some() {}
        info!(
            connections = self.all as usize - self.permits.available_permits(),
            "front draining"
        );
        // All permits are back when no connection is left.
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
                // Linux hands both on to the connections. Small answers must not wait for the acknowledgement of the
                // last one.
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

    /// Takes the next connection and lets it live on by itself.
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

/// Speaks the version of HTTP that the connection begins with.
async fn converse<S: Stream + 'static>(mut stream: S, peer: Peer, shared: &Shared) {
    let (context, site) = (&shared.context, &shared.site);
    let mut begun = Vec::new();
    if context.settings.http2 {
        let mut draining = context.draining.clone();
        let read = http2::first_bytes(&mut stream, &mut begun);
        let read = timeout(context.settings.header_timeout, read);
        // Once no further request is wanted, HTTP/1 knows how long one is waited for.
        let asked_to_drain = draining.wait_for(|draining| *draining);
        if let Some(Err(_) | Ok(Err(_))) = first(read, asked_to_drain).await {
            return;
        }
        if http2::is_preface(&begun) {
            // Its future is large.
            return Box::pin(http2::serve(stream, peer, context, site)).await;
        }
    }
    http1::serve(stream, begun, peer, context, &**site).await;
}

/// Accepts until no further request is wanted; then what has already arrived is still taken.
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
            Some(Err(error)) if is_the_connections(&error) => {}
            Some(Err(error)) => {
                warn!(%error, "cannot accept");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// The result of `work`, unless `stop` comes first and `work` has to wait.
async fn first<T>(work: impl Future<Output = T>, stop: impl Future) -> Option<T> {
    let (mut work, mut stop) = (pin!(work), pin!(stop));
    std::future::poll_fn(|context| match work.as_mut().poll(context) {
        std::task::Poll::Ready(done) => std::task::Poll::Ready(Some(done)),
        std::task::Poll::Pending => stop.as_mut().poll(context).map(|_| None),
    })
    .await
}

/// Whether the connection failed and not the listener: accept(2) hands such errors on.
fn is_the_connections(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
    )
}
