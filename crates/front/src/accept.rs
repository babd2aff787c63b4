//! Connections arrive here: one loop per listener, and the end of accepting.

use std::cell::Cell;
use std::io;
use std::net::TcpListener as StdTcp;
use std::os::unix::net::UnixListener as StdUnix;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinSet, spawn_local};
use tracing::{info, warn};

use crate::connection;
use crate::request::Peer;
use crate::strict::Limits;
use crate::wire::Socket;
use crate::{Listening, Place, Settings};

/// What an out-of-descriptors listener waits before it tries again.
const PAUSE: Duration = Duration::from_millis(100);

/// Bytes of memory that a socket takes beyond those that are on their way to the client: the kernel would let them grow
/// to MiB for each slow client.
pub(crate) const UNSENT: u32 = 64 * 1024;

/// What every connection shares.
#[derive(Debug)]
pub(crate) struct Hall {
    pub(crate) settings: Rc<Settings>,
    pub(crate) limits: Limits,
    /// A permit for each connection that may be open.
    permits: Arc<Semaphore>,
    /// Becomes true when no further request is wanted.
    pub(crate) draining: watch::Receiver<bool>,
    /// Each request is the last of its connection, also while further connections are wanted.
    pub(crate) closing: Rc<Cell<bool>>,
}

/// Ends accepting, then the connections.
#[derive(Debug)]
pub(crate) struct Drain {
    say: watch::Sender<bool>,
    closing: Rc<Cell<bool>>,
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

/// Starts to accept on each listener.
pub(crate) fn start(settings: Rc<Settings>, listeners: Vec<Listening>) -> io::Result<Drain> {
    let all = u32::try_from(settings.max_connections.min(Semaphore::MAX_PERMITS))
        .unwrap_or(u32::MAX >> 3);
    let permits = Arc::new(Semaphore::new(all as usize));
    let (say, draining) = watch::channel(false);
    let closing = Rc::new(Cell::new(false));
    let hall = Rc::new(Hall {
        closing: Rc::clone(&closing),
        limits: connection::limits(&settings),
        settings,
        permits: Arc::clone(&permits),
        draining,
    });
    let mut accepting = JoinSet::new();
    for listening in listeners {
        accepting.spawn_local(accept(Listener::open(listening)?, Rc::clone(&hall)));
    }
    Ok(Drain {
        say,
        closing,
        listeners: accepting,
        permits,
        all,
    })
}

impl Drain {
    /// Has each answer from now on be the last of its connection: whoever comes again finds another server, if there is
    /// one by then.
    pub(crate) fn close_connections(&self) {
        self.closing.set(true);
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
    async fn take(
        &self,
        hall: &Rc<Hall>,
        permit: tokio::sync::OwnedSemaphorePermit,
    ) -> io::Result<()> {
        match self {
            Self::Tcp { socket, name, port } => {
                let (stream, address) = socket.accept().await?;
                live(stream, Peer::tcp(address, name, *port), hall, permit);
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                live(stream, Peer::unix(), hall, permit);
            }
        }
        Ok(())
    }
}

fn live<S>(stream: S, peer: Peer, hall: &Rc<Hall>, permit: tokio::sync::OwnedSemaphorePermit)
where
    S: Socket + 'static,
{
    let hall = Rc::clone(hall);
    spawn_local(async move {
        connection::live(stream, peer, &hall).await;
        drop(permit);
    });
}

/// Accepts until no further request is wanted; then what has already arrived is still taken.
async fn accept(listener: Listener, hall: Rc<Hall>) {
    let mut draining = hall.draining.clone();
    loop {
        let Ok(permit) = Arc::clone(&hall.permits).acquire_owned().await else {
            return;
        };
        let stop = draining.wait_for(|draining| *draining);
        match first(listener.take(&hall, permit), stop).await {
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
    let (mut work, mut stop) = (std::pin::pin!(work), std::pin::pin!(stop));
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
