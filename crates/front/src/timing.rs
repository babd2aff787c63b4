//! The phase of a connection, and how long it may last.

use std::cell::Cell;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use crate::config::Settings;
use crate::net::{Patience, SlowReader};

/// How long idle connections are kept while draining, from the last response or the start of draining, whichever is
/// later: a request that is already on its way is still served, instead of finding the connection closed.
const LINGER: Duration = Duration::from_secs(1);

/// The time at the beginning of the runtime's turn. Time limits are far longer than a turn, and this saves each
/// request several calls for the time.
#[derive(Debug)]
pub(crate) struct Clock(Cell<Instant>);

impl Clock {
    pub(crate) fn new() -> Self {
        Self(Cell::new(Instant::now()))
    }

    /// The time at which the turn began.
    pub(crate) fn now(&self) -> Instant {
        self.0.get()
    }

    /// To be called at the beginning of each turn.
    pub(crate) fn advance(&self) {
        self.0.set(Instant::now());
    }
}

/// The phase of a connection, with its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Before the first request, or in its head.
    First(Instant),
    /// After a response.
    Idle(Instant),
    /// In the head of a further request.
    Head(Instant),
    /// A request is being read or answered.
    Busy,
}

/// The state of a connection with regard to its time limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Within its limits until then.
    Until(Option<Instant>),
    /// No further request is waited for.
    Enough,
    /// The head was not received in time.
    TooSlow,
    /// The client does not read.
    Gone,
}

impl Verdict {
    /// The verdict on a connection in this phase, with its slow reader, if any; `drain_since` is the start of
    /// draining.
    pub(crate) fn of(
        phase: Phase,
        reader: Option<SlowReader>,
        drain_since: Option<Instant>,
        settings: &Settings,
        now: Instant,
    ) -> Self {
        let (deadline, late) = match (reader, phase) {
            // A response is in the kernel's buffer before the client has it: until it is read, the connection is
            // not idle.
            (Some(reader), _) if reader.writing || drain_since.is_none() => {
                return match reader.deadline(settings.send_patience(), now) {
                    Some(deadline) => Self::Until(Some(deadline)),
                    None => Self::Gone,
                };
            }
            (_, Phase::Busy) => return Self::Until(None),
            (_, Phase::First(since) | Phase::Head(since)) => {
                let late = (since + settings.header_timeout, Self::TooSlow);
                sooner(since, late, drain_since)
            }
            (_, Phase::Idle(since)) => {
                let late = (since + settings.keep_alive, Self::Enough);
                sooner(since, late, drain_since)
            }
        };
        if deadline <= now {
            late
        } else {
            Self::Until(Some(deadline))
        }
    }
}

/// The deadline for the next request and its consequence. While draining, at most [`LINGER`] after its start or
/// after the last response, whichever is later, because a response whose head was sent before has not announced the
/// close.
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

/// Ready when the limits should be checked again, at the latest at `deadline`. A timer that expires too early only
/// causes a further check, so it is not changed.
pub(crate) fn poll_deadline(
    mut timer: Pin<&mut Sleep>,
    deadline: Instant,
    task: &mut Context<'_>,
) -> Poll<()> {
    if timer.is_elapsed() || deadline < timer.deadline() {
        timer.as_mut().reset(deadline);
    }
    timer.poll(task)
}

/// How long a body that has brought `bytes` since `began` may pause; `None` when the time is over.
pub(crate) fn body_pause(
    settings: &Settings,
    began: std::time::Instant,
    so_far: u64,
) -> Option<Duration> {
    let patience = Patience {
        pause: settings.body_timeout,
        least: settings.min_rate,
    };
    patience.left(began.elapsed(), so_far)
}

impl Settings {
    /// How slowly a client may read its response.
    pub(crate) fn send_patience(&self) -> Patience {
        Patience {
            pause: self.send_timeout,
            least: self.min_rate,
        }
    }
}
