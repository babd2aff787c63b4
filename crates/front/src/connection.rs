//! The life of one connection: hyper speaks HTTP on it, and we watch the clock.
//!
//! Different limits of time hold at different moments (idle, reading a head, waiting for a thread, sending), so each
//! connection has one timer, which is only set again when it has run out: a request costs no timer operation.

use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, sleep, timeout};
use tracing::debug;

use crate::Settings;
use crate::accept::Hall;
use crate::access::Record;
use crate::counter;
use crate::file::Holes;
use crate::refuse::Refusal;
use crate::request::{self, Peer};
use crate::strict::Limits;
use crate::wire::{Handle, Socket, Wire};

/// How long idle connections are kept once no further request is wanted: a request that is already on its way is
/// still answered, instead of meeting a closed connection.
const LINGER: Duration = Duration::from_secs(1);
/// How long input that nobody reads is still taken in, so that the client can read its refusal.
const LAST_INPUT: Duration = Duration::from_secs(2);
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
    /// A request was offered to the threads, and nothing of its answer has come.
    Offered(Instant),
    /// The same, for longer than a request may wait.
    Overdue,
}

/// What the connection, its stream and its requests share.
pub(crate) type Clock = Rc<Cell<Phase>>;

/// Speaks HTTP until either side has had enough.
pub(crate) async fn live<S>(stream: S, peer: Peer, hall: &Rc<Hall>)
where
    S: Socket + 'static,
{
    let clock: Clock = Rc::new(Cell::new(Phase::First(Instant::now())));
    let holes = Holes::default();
    let scene = Rc::new(request::Scene {
        peer,
        settings: Rc::clone(&hall.settings),
        clock: Rc::clone(&clock),
        holes: holes.clone(),
        ends_by_close: Cell::new(false),
        spare: RefCell::default(),
    });
    let of_requests = Rc::clone(&scene);
    let service = service_fn(move |request| request::answer(Rc::clone(&of_requests), request));
    let limits = limits(&hall.settings);
    let wire = Wire::new(stream, Rc::clone(&clock), holes, limits);
    let wire = Rc::new(RefCell::new(wire));
    let stream = TokioIo::new(Handle(Rc::clone(&wire)));
    let connection = builder(&hall.settings, limits).serve_connection(stream, service);
    let ended = watch(connection, &wire, &clock, hall).await;
    let Some(wire) = Rc::into_inner(wire) else {
        return;
    };
    let mut wire = wire.into_inner();
    let refusal = match ended {
        Ended::Gone | Ended::Early if scene.ends_by_close.get() => return wire.fail(),
        Ended::Gone => return,
        Ended::ByItself | Ended::Early => wire.fault().map(Refusal::from),
        // Who has said nothing is told nothing.
        Ended::TooSlow => wire.has_begun().then_some(Refusal::HeadTooSlow),
    };
    note_unread(&wire, refusal, &scene);
    // The client is slow or gone; what it does with its last answer is its own affair.
    let _ = timeout(LAST_INPUT, close(&mut wire, refusal)).await;
}

/// Has a request logged that did not become one.
fn note_unread<S>(wire: &Wire<S>, refusal: Option<Refusal>, scene: &Rc<request::Scene>) {
    let (status, sent) = match refusal {
        Some(refusal) => (refusal.status(), refusal.text().len()),
        None if wire.was_left() => (Refusal::Malformed.status(), 0),
        None => return,
    };
    Record::unread(scene, wire.request_line(), status, sent);
}

enum Ended {
    /// Either side has closed, or is to.
    ByItself,
    /// In the middle of a request or an answer.
    Early,
    /// A head did not come in time.
    TooSlow,
    /// Nobody reads what would be written.
    Gone,
}

/// Says what is left to say, and closes so that it arrives (RFC 9112 section 9.6).
async fn close<S>(wire: &mut Wire<S>, refusal: Option<Refusal>)
where
    S: Socket,
{
    let has_rest = wire.has_rest();
    if let Some(refusal) = refusal
        && wire.write(&refusal.bytes()).await.is_err()
    {
        return;
    }
    if wire.shut_down().await.is_ok() && has_rest {
        wire.discard().await;
    }
}

fn limits(settings: &Settings) -> Limits {
    let fields = settings
        .limit_request_fields
        .saturating_mul(settings.limit_request_field_size);
    Limits {
        line: settings.limit_request_line,
        fields: settings.limit_request_fields,
        field: settings.limit_request_field_size,
        head: settings
            .limit_request_line
            .saturating_add(fields)
            .min(exchange::MAX_REQUEST),
    }
}

fn builder(settings: &Settings, limits: Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        // A client that has sent all it has to say is still answered (RFC 9112 section 9.6).
        .half_close(true)
        .keep_alive(!settings.keep_alive.is_zero())
        // Never what a head is measured by: larger ones do not reach hyper.
        .max_buf_size(limits.head.max(SMALLEST_BUFFER) + 1);
    if limits.fields != HYPER_FIELDS {
        builder.max_headers(limits.fields);
    }
    builder
}

/// Drives the connection, minds its time limits and the wish to drain.
async fn watch<S, Service>(
    connection: http1::Connection<TokioIo<Handle<S>>, Service>,
    wire: &RefCell<Wire<S>>,
    clock: &Cell<Phase>,
    hall: &Hall,
) -> Ended
where
    S: Socket + 'static,
    Service: hyper::service::HttpService<hyper::body::Incoming, ResBody = crate::answer::Body>,
    Service::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut connection = pin!(connection);
    let mut draining = hall.draining.clone();
    let mut asked_to_drain = pin!(draining.wait_for(|draining| *draining));
    let (mut drain_since, mut told) = (None, false);
    let mut timer = pin!(sleep(hall.settings.header_timeout));
    std::future::poll_fn(|context| {
        counter::step();
        if drain_since.is_none() && asked_to_drain.as_mut().poll(context).is_ready() {
            drain_since = Some(Instant::now());
        }
        loop {
            if let Poll::Ready(end) = connection.as_mut().poll(context) {
                return Poll::Ready(match end {
                    Ok(()) => Ended::ByItself,
                    Err(error) => {
                        debug!(%error, "connection ended early");
                        Ended::Early
                    }
                });
            }
            if let Phase::Busy | Phase::Offered(_) = clock.get()
                && let Err(error) = wire.borrow_mut().look_ahead(context)
            {
                debug!(%error, "the client has gone");
                return Poll::Ready(Ended::Gone);
            }
            let blocked = wire.borrow().blocked();
            let drained = drain_since.filter(|_| !told);
            match verdict(clock.get(), blocked, drained, &hall.settings) {
                Verdict::TooSlow => return Poll::Ready(Ended::TooSlow),
                Verdict::Gone => return Poll::Ready(Ended::Gone),
                Verdict::Overdue => clock.set(Phase::Overdue),
                Verdict::LastRequest if !told => {
                    told = true;
                    connection.as_mut().graceful_shutdown();
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
    .await
}

enum Verdict {
    /// All is well until then.
    Until(Option<Instant>),
    /// This request is the connection's last; without one it closes.
    LastRequest,
    /// The head did not come in time.
    TooSlow,
    /// The request has waited for a thread for too long.
    Overdue,
    /// The client does not read.
    Gone,
}

/// `drain_since` is nothing, too, once the connection has been told that its request is the last.
fn verdict(
    phase: Phase,
    blocked: Option<Instant>,
    drain_since: Option<Instant>,
    settings: &Settings,
) -> Verdict {
    let drained = drain_since.map(|since| since + LINGER);
    let (deadline, late) = match (blocked, phase) {
        (_, Phase::Busy | Phase::Offered(_)) if drained.is_some() => return Verdict::LastRequest,
        // hyper is done with an answer before its client has all of it: until then, the connection is not idle.
        (Some(since), _) => (since + settings.send_timeout, Verdict::Gone),
        (_, Phase::Busy | Phase::Overdue) => return Verdict::Until(None),
        (_, Phase::Offered(since)) => (since + settings.queue_timeout, Verdict::Overdue),
        (_, Phase::First(since) | Phase::Head(since)) => {
            (since + settings.header_timeout, Verdict::TooSlow)
        }
        (_, Phase::Idle(since)) => (since + settings.keep_alive, Verdict::LastRequest),
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
