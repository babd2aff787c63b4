//! The life of one connection: hyper speaks HTTP on it, and we watch the clock.
//!
//! Three limits of time hold at different moments (idle, reading a head, reading a body), so each connection has one
//! timer, which is only set again when it has run out: a request costs no timer operation.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, sleep};
use tracing::debug;

use crate::accept::Hall;
use crate::counter;
use crate::refuse;
use crate::request::{self, Peer};

/// How long idle connections are kept once no further request is wanted: a request that is already on its way is
/// still answered, instead of meeting a closed connection.
const LINGER: Duration = Duration::from_secs(1);
/// Room for the smallest heads; hyper's own minimum.
const SMALLEST_BUFFER: usize = 8192;
/// hyper keeps this many fields without allocating; setting the same number would make it allocate.
const HYPER_FIELDS: usize = 100;

/// What a connection is about, with the time since when.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Phase {
    /// Nothing of the first request has come, or only a part of its head.
    First(Instant),
    /// The last answer is out.
    Idle(Instant),
    /// The first byte of a further head has come.
    Head(Instant),
    /// A request is being read or answered.
    Busy,
}

/// What the connection, its stream and its requests share.
pub(crate) type Clock = Rc<Cell<Phase>>;

/// Speaks HTTP until either side has had enough.
pub(crate) async fn live<S>(stream: S, peer: Peer, hall: &Rc<Hall>)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let clock: Clock = Rc::new(Cell::new(Phase::First(Instant::now())));
    let scene = Rc::new(request::Scene {
        peer,
        settings: Rc::clone(&hall.settings),
        clock: Rc::clone(&clock),
        spare: RefCell::default(),
    });
    let service = service_fn(move |request| request::answer(Rc::clone(&scene), request));
    let blocked = Rc::new(Cell::new(false));
    let stream = TokioIo::new(Watched {
        stream,
        clock: Rc::clone(&clock),
        blocked: Rc::clone(&blocked),
    });
    let connection = builder(hall).serve_connection(stream, service);
    match watch(connection, &clock, &blocked, hall).await {
        Ended::ByItself => {}
        Ended::TooSlow(mut stream) => {
            // The client is slow or gone; what it does with the refusal is its own affair.
            let _ = stream.write_all(refuse::HEAD_TOO_SLOW).await;
            let _ = stream.shutdown().await;
        }
    }
}

enum Ended<S> {
    ByItself,
    TooSlow(Watched<S>),
}

fn builder(hall: &Hall) -> http1::Builder {
    let settings = &hall.settings;
    let fields = settings
        .limit_request_fields
        .saturating_mul(settings.limit_request_field_size);
    let head = settings
        .limit_request_line
        .saturating_add(fields)
        .min(exchange::MAX_REQUEST);
    let mut builder = http1::Builder::new();
    builder
        .keep_alive(!settings.keep_alive.is_zero())
        .max_buf_size(head.max(SMALLEST_BUFFER));
    if settings.limit_request_fields != HYPER_FIELDS {
        builder.max_headers(settings.limit_request_fields);
    }
    builder
}

/// Drives the connection, minds its time limits and the wish to drain.
async fn watch<S, Service>(
    connection: http1::Connection<TokioIo<Watched<S>>, Service>,
    clock: &Cell<Phase>,
    blocked: &Cell<bool>,
    hall: &Hall,
) -> Ended<S>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
    Service:
        hyper::service::HttpService<hyper::body::Incoming, ResBody = crate::answer::Body> + Unpin,
    Service::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut connection = connection;
    let mut draining = hall.draining.clone();
    let mut asked_to_drain = pin!(draining.wait_for(|draining| *draining));
    let (mut drain_since, mut told) = (None, false);
    let mut timer = pin!(sleep(hall.settings.header_timeout));
    let too_slow = std::future::poll_fn(|context| {
        counter::step();
        if drain_since.is_none() && asked_to_drain.as_mut().poll(context).is_ready() {
            drain_since = Some(Instant::now());
        }
        loop {
            if let Poll::Ready(end) = Pin::new(&mut connection).poll(context) {
                if let Err(error) = end {
                    debug!(%error, "connection ended early");
                }
                return Poll::Ready(false);
            }
            // hyper is done with an answer before its client has all of it: until then, the connection is not idle.
            let phase = if blocked.get() {
                Phase::Busy
            } else {
                clock.get()
            };
            match verdict(phase, drain_since.filter(|_| !told), hall) {
                Verdict::TooSlow => return Poll::Ready(true),
                Verdict::LastRequest if !told => {
                    told = true;
                    Pin::new(&mut connection).graceful_shutdown();
                }
                Verdict::LastRequest | Verdict::Until(None) => return Poll::Pending,
                Verdict::Until(Some(deadline)) => {
                    // A timer that runs out too early only makes us look again, and so is left as it is.
                    if timer.is_elapsed() || deadline < timer.deadline() {
                        timer.as_mut().reset(deadline);
                    }
                    if timer.as_mut().poll(context).is_pending() {
                        return Poll::Pending;
                    }
                }
            }
        }
    })
    .await;
    if too_slow {
        Ended::TooSlow(connection.into_parts().io.into_inner())
    } else {
        Ended::ByItself
    }
}

enum Verdict {
    /// All is well until then.
    Until(Option<Instant>),
    /// This request is the connection's last; without one it closes.
    LastRequest,
    /// The head did not come in time.
    TooSlow,
}

/// `drain_since` is nothing, too, once the connection has been told that its request is the last.
fn verdict(phase: Phase, drain_since: Option<Instant>, hall: &Hall) -> Verdict {
    let settings = &hall.settings;
    let drained = drain_since.map(|since| since + LINGER);
    let (deadline, late) = match phase {
        Phase::Busy if drained.is_some() => return Verdict::LastRequest,
        Phase::Busy => return Verdict::Until(None),
        Phase::First(since) | Phase::Head(since) => {
            (since + settings.header_timeout, Verdict::TooSlow)
        }
        Phase::Idle(since) => (since + settings.keep_alive, Verdict::LastRequest),
    };
    let now = Instant::now();
    match drained {
        _ if deadline <= now => late,
        Some(drained) if drained <= now => Verdict::LastRequest,
        _ => Verdict::Until(Some(
            drained.map_or(deadline, |drained| drained.min(deadline)),
        )),
    }
}

/// The stream, with an eye on the first byte of each head.
#[derive(Debug)]
struct Watched<S> {
    stream: S,
    clock: Clock,
    /// The client does not take what has been written.
    blocked: Rc<Cell<bool>>,
}

impl<S> Watched<S> {
    /// Notes how a write went. When the client takes something again, the time for its next request begins anew.
    fn written(&self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if self.blocked.replace(result.is_pending()) && result.is_ready() {
            let now = Instant::now();
            match self.clock.get() {
                Phase::Idle(_) => self.clock.set(Phase::Idle(now)),
                Phase::Head(_) => self.clock.set(Phase::Head(now)),
                Phase::First(_) | Phase::Busy => {}
            }
        }
        result
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(context, buffer);
        if let Phase::Idle(_) = self.clock.get()
            && buffer.filled().len() > before
        {
            self.clock.set(Phase::Head(Instant::now()));
        }
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.written(result)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.written(result)
    }
}
