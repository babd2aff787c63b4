//! The life of one connection: one request after the other is served on it, and we watch the clock.
//!
//! Different limits of time hold at different moments (idle, reading a head, waiting for a thread, sending), so each
//! connection has one timer, which is only set again when it has run out: a request costs no timer operation.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
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
use crate::file::Holes;
use crate::heard::Heard;
use crate::plain::{self, Served};
use crate::refuse::Refusal;
use crate::request::{self, Begun, Peer, Scene};
use crate::strict::{Fault, Limits};
use crate::taking::Behind;
use crate::wire::{Handle, Socket, Wire};
use crate::{body, clock, counter};

/// How long idle connections are kept once no further request is wanted, counted from the last answer where that is later:
/// a request that is already on its way is still answered, instead of meeting a closed connection.
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
    let phase: Clock = Rc::new(Cell::new(Phase::First(clock::now())));
    let holes = Holes::default();
    let scene = Rc::new(Scene {
        peer,
        settings: Rc::clone(&hall.settings),
        clock: Rc::clone(&phase),
        holes: holes.clone(),
        ends_by_close: Cell::new(false),
        last: Cell::new(false),
        closing: Rc::clone(&hall.closing),
    });
    let wire = Wire::new(stream, phase, holes, hall.limits, hall.settings.untaken);
    let wire = Rc::new(RefCell::new(wire));
    let cut_off = CutOff(&wire, &scene);
    let ended = watch(&wire, &scene, hall).await;
    std::mem::forget(cut_off);
    let Some(wire) = Rc::into_inner(wire) else {
        return;
    };
    let mut wire = wire.into_inner();
    let refusal = match ended {
        Ended::Gone | Ended::Early if scene.ends_by_close.get() => return wire.fail(),
        Ended::Gone => return,
        Ended::ByItself | Ended::Early | Ended::Left => None,
        Ended::Fault(fault) => Some(Refusal::from(fault)),
        // Who has said nothing is told nothing.
        Ended::TooSlow => wire.has_begun().then_some(Refusal::HeadTooSlow),
    };
    match (ended, refusal) {
        (_, Some(refusal)) => {
            let sent = refusal.text().len();
            Record::unread(&scene, wire.request_line(), refusal.status(), sent);
        }
        (Ended::Left, None) => {
            Record::unread(&scene, wire.request_line(), Refusal::Malformed.status(), 0);
        }
        _ if *hall.draining.borrow() => note_cut_off(&wire, &scene),
        _ => {}
    }
    // The client is slow or gone; what it does with its last answer is its own affair.
    let _ = timeout(LAST_INPUT, close(&mut wire, refusal)).await;
}

/// Dropped with a connection that the end of the server cuts off.
struct CutOff<'a, S: Socket>(&'a RefCell<Wire<S>>, &'a Rc<Scene>);

impl<S: Socket> Drop for CutOff<'_, S> {
    fn drop(&mut self) {
        let Self(wire, scene) = self;
        let wire = wire.borrow();
        note_cut_off(&wire, scene);
        if scene.ends_by_close.get() {
            wire.fail();
        }
    }
}

/// Has a request logged of which only a part has come when the server ends.
fn note_cut_off<S>(wire: &Wire<S>, scene: &Rc<Scene>) {
    if !wire.request_line().is_empty() {
        Record::unread(scene, wire.request_line(), Refusal::Busy.status(), 0);
    }
}

/// Serves one request after the other.
async fn converse<S>(wire: &Rc<RefCell<Wire<S>>>, scene: &Rc<Scene>, limits: Limits) -> Ended
where
    S: Socket + 'static,
{
    loop {
        let heard = match poll_fn(|context| wire.borrow_mut().poll_head(context)).await {
            Ok(heard) => heard,
            Err(None) if wire.borrow().request_line().is_empty() => return Ended::ByItself,
            Err(None) => return Ended::Left,
            Err(Some(fault)) => return Ended::Fault(fault),
        };
        scene.clock.set(Phase::Busy);
        let body = body::plain_length(wire.borrow().body_left(), &scene.settings);
        let begun = if let Some(length) = body
            && heard.is_plain()
        {
            match plain::serve(wire, scene, &heard, length).await {
                Ok(Served::Plainly(true)) => continue,
                Ok(Served::Plainly(false)) => return Ended::ByItself,
                Ok(Served::Otherwise(begun)) => Some(*begun),
                Err(_) => return Ended::Gone,
            }
        } else {
            None
        };
        // What hyper needs for a request is much, and an idle connection should have little.
        match Box::pin(through_hyper(wire, scene, limits, heard, begun)).await {
            Ok(true) if !scene.last.get() => {}
            Ok(_) => return Ended::ByItself,
            Err(error) => {
                debug!(%error, "connection ended early");
                return Ended::Early;
            }
        }
    }
}

/// Has hyper serve one request; tells whether the connection goes on.
async fn through_hyper<S>(
    wire: &Rc<RefCell<Wire<S>>>,
    scene: &Rc<Scene>,
    limits: Limits,
    heard: Heard,
    begun: Option<Begun>,
) -> hyper::Result<bool>
where
    S: Socket + 'static,
{
    let heard = Rc::new(heard);
    let head = match &begun {
        Some(_) => heard.without_body(),
        None => heard.bytes().to_vec(),
    };
    wire.borrow_mut().replay(head, begun.is_some());
    let (begun, in_service) = (Cell::new(begun), Rc::clone(scene));
    let service = service_fn(move |request| {
        request::answer(
            Rc::clone(&in_service),
            Rc::clone(&heard),
            begun.take(),
            request,
        )
    });
    let stream = TokioIo::new(Handle(Rc::clone(wire)));
    let mut connection = pin!(builder(&scene.settings, limits).serve_connection(stream, service));
    poll_fn(|context| match connection.as_mut().poll(context) {
        Poll::Ready(ended) => Poll::Ready(ended.map(|()| false)),
        Poll::Pending => {
            // The answer has been given to hyper, and by hyper to the kernel; what hyper waits for is the next request.
            let is_idle = matches!(scene.clock.get(), Phase::Idle(_));
            let wire = wire.borrow();
            if is_idle && wire.is_handed_on() && !wire.is_writing() {
                return Poll::Ready(Ok(true));
            }
            Poll::Pending
        }
    })
    .await
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// Either side has closed, or is to.
    ByItself,
    /// In the middle of a request or an answer.
    Early,
    /// By the client in the middle of a head.
    Left,
    /// With what is not served.
    Fault(Fault),
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

/// What bounds the heads of requests.
pub(crate) fn limits(settings: &Settings) -> Limits {
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

/// Drives the conversation, minds its time limits and the wish to drain.
async fn watch<S>(wire: &Rc<RefCell<Wire<S>>>, scene: &Rc<Scene>, hall: &Hall) -> Ended
where
    S: Socket + 'static,
{
    let phase = &scene.clock;
    // Made here: what is handed over to a future stands in it twice.
    let mut conversation = pin!(converse(wire, scene, hall.limits));
    let mut draining = hall.draining.clone();
    let mut asked_to_drain = pin!(draining.wait_for(|draining| *draining));
    let (mut drain_since, mut is_asked) = (None, false);
    let mut timer = pin!(sleep(hall.settings.header_timeout));
    poll_fn(|context| {
        counter::step();
        // Asked once, it wakes this task when there is something to hear.
        let has_news =
            !std::mem::replace(&mut is_asked, true) || hall.draining.has_changed().unwrap_or(true);
        if has_news && drain_since.is_none() && asked_to_drain.as_mut().poll(context).is_ready() {
            drain_since = Some(clock::now());
        }
        loop {
            if let Poll::Ready(ended) = conversation.as_mut().poll(context) {
                return Poll::Ready(ended);
            }
            if let Phase::Busy | Phase::Offered(_) = phase.get()
                && let Err(error) = wire.borrow_mut().look_ahead(context)
            {
                debug!(%error, "the client has gone");
                return Poll::Ready(Ended::Gone);
            }
            let behind = wire.borrow_mut().behind(hall.settings.send_timeout);
            match verdict(scene, behind, drain_since) {
                Verdict::TooSlow => return Poll::Ready(Ended::TooSlow),
                Verdict::Gone => return Poll::Ready(Ended::Gone),
                Verdict::Enough if drain_since.is_none() && wire.borrow_mut().is_still_taken() => {}
                Verdict::Enough => return Poll::Ready(Ended::ByItself),
                Verdict::Overdue => phase.set(Phase::Overdue),
                Verdict::Until(None) => return Poll::Pending,
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
    /// No further request is waited for.
    Enough,
    /// The head did not come in time.
    TooSlow,
    /// The request has waited for a thread for too long.
    Overdue,
    /// The client does not read.
    Gone,
}

fn verdict(scene: &Scene, behind: Option<Behind>, drain_since: Option<Instant>) -> Verdict {
    let settings = &scene.settings;
    let (deadline, late) = match (behind, scene.clock.get()) {
        // hyper is done with an answer before its client has all of it: until then, the connection is not idle.
        (Some(behind), _) if behind.writing || drain_since.is_none() => {
            return match behind.deadline(settings.send_timeout) {
                Some(deadline) => Verdict::Until(Some(deadline)),
                None => Verdict::Gone,
            };
        }
        (_, Phase::Busy | Phase::Overdue) => return Verdict::Until(None),
        (_, Phase::Offered(since)) => (since + settings.queue_timeout, Verdict::Overdue),
        (_, Phase::First(since) | Phase::Head(since)) => {
            let late = (since + settings.header_timeout, Verdict::TooSlow);
            sooner(since, late, drain_since)
        }
        (_, Phase::Idle(since)) => {
            let late = (since + settings.keep_alive, Verdict::Enough);
            sooner(since, late, drain_since)
        }
    };
    if deadline <= clock::now() {
        late
    } else {
        Verdict::Until(Some(deadline))
    }
}

/// How long a request is waited for, and what then. Once none is wanted: no longer than [`LINGER`] after that or after the
/// last answer, whichever is later, since an answer whose head was out before has not announced that the connection ends.
fn sooner(
    since: Instant,
    (deadline, late): (Instant, Verdict),
    drain_since: Option<Instant>,
) -> (Instant, Verdict) {
    match drain_since.map(|drain_since| drain_since.max(since) + LINGER) {
        Some(drained) if drained < deadline => (drained, Verdict::Enough),
        _ => (deadline, late),
    }
}
