//! What a connection is about at a moment, and how long it may stay so.

use std::cell::Cell;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use crate::config::Settings;
use crate::net::{Patience, SlowReader};

/// How long idle connections are kept once no further request is wanted, counted from the last response where that is later:
/// a request that is already on its way is still answered, instead of meeting a closed connection.
const LINGER: Duration = Duration::from_secs(1);

/// The time, as of the beginning of the runtime's turn: limits of time are far longer than a turn, and each request would
/// otherwise ask for the time again and again.
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

    /// A turn begins.
    pub(crate) fn advance(&self) {
        self.0.set(Instant::now());
    }
}

/// What a connection is about, with the time since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Nothing of the first request has come, or only a part of its head.
    First(Instant),
    /// The last response is out.
    Idle(Instant),
    /// The first byte of a further head has come.
    Head(Instant),
    /// A request is being read or answered.
    Busy,
}

/// What is to become of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// All is well until then.
    Until(Option<Instant>),
    /// No further request is waited for.
    Enough,
    /// The head did not come in time.
    TooSlow,
    /// The client does not read.
    Gone,
}

impl Verdict {
    /// Of a connection in this phase, and of what its client has not taken; `drain_since` tells since when no further
    /// request is wanted.
    pub(crate) fn of(
        phase: Phase,
        reader: Option<SlowReader>,
        drain_since: Option<Instant>,
        settings: &Settings,
        now: Instant,
    ) -> Self {
        let (deadline, late) = match (reader, phase) {
            // The kernel has all of a response before its client does: until then, the connection is not idle.
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

/// How long a request is waited for, and what then. Once none is wanted: no longer than [`LINGER`] after that or after the
/// last response, whichever is later, since a response whose head was out before has not announced that the connection ends.
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

/// Ready when it is time to look again, at the latest at `deadline`. A timer that runs out too early only makes the connection
/// look again, and so is left as it is.
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

/// How long a body may pause that has brought so many bytes since it began; `None` when that is over.
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
    /// How slowly a client may take its response.
    pub(crate) fn send_patience(&self) -> Patience {
        Patience {
            pause: self.send_timeout,
            least: self.min_rate,
        }
    }
}
