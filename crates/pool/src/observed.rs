//! The state and the events that the rules decide by. Children are named by their slots, not by process numbers.

use std::time::Duration;

/// The state at one look. Times count from the start of the server.
#[derive(Clone, Copy, Debug)]
pub struct Observed<'a> {
    /// The present.
    pub now: Duration,
    /// The mold.
    pub mold: Mold,
    /// The children by slot.
    pub children: &'a [Child],
    /// Statistics of each child, for recycling; empty without recycling.
    pub stats: &'a [ChildStats],
    /// The requests that wait.
    pub demand: Demand,
    /// The memory that children take; `None` until one has been measured.
    pub weight: Option<Weight>,
    /// Thousandths of a core that ready children and the front use; `None` until it has been measured. Starting children are
    /// not counted.
    pub computing: Option<u32>,
    /// What has happened since the last look, in order.
    pub events: &'a [Event],
}

/// The mold as the supervisor sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mold {
    /// There is none.
    Absent,
    /// It is loading the application.
    Loading {
        /// Since when.
        since: Duration,
    },
    /// It forks children on order.
    Ready {
        /// Since when.
        since: Duration,
    },
    /// It has been told to end, or killed, and is not reaped yet.
    Leaving,
}

/// A child slot as the supervisor sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Child {
    /// No process: a child may be ordered here. Apache's scoreboard shows `.`.
    Vacant,
    /// It has been ordered from the mold and is not forked yet. Apache's rules count it as starting.
    Ordered {
        /// Since when.
        since: Duration,
    },
    /// It has been forked and takes no request yet: `S`.
    Starting {
        /// Since when.
        since: Duration,
    },
    /// It takes requests: `_` as long as it holds none, `W` when every thread has one.
    Ready {
        /// Since when.
        since: Duration,
        /// Application threads that hold a request. A fixed pool does not use it.
        busy: u16,
    },
    /// It takes requests, and is to leave as soon as the pool is complete without it: see [`crate::Action::Replace`].
    Outgoing,
    /// It has been told to leave, and finishes the requests that it has: `G`.
    Draining {
        /// Since when.
        since: Duration,
    },
    /// It has been killed, and is not reaped yet: `G`.
    Leaving,
    /// It is reaped; the front has not yet cleared what it held in the exchange.
    Gone,
}

/// Statistics of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChildStats {
    /// It belongs to the generation that serves, and not to an earlier one.
    pub is_current: bool,
    /// Requests that it has answered.
    pub requests: u64,
    /// Since when it has had no request, if it has answered some.
    pub idle_since: Option<Duration>,
    /// Bytes of private memory, if measured.
    pub private: Option<u64>,
    /// It has got SIGTERM.
    pub terminated: bool,
}

/// The requests that wait for a thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// Complete requests that no application thread has taken.
    pub waiting: u32,
    /// How long the oldest of them has waited.
    pub longest_wait: Duration,
}

/// Memory in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weight {
    /// What does not grow with the number of children: supervisor, front, mold and what children share with it.
    pub shared: u64,
    /// What one more child takes. The caller passes the most that any child has reached, since one that has just been forked
    /// has almost nothing of its own.
    pub private: u64,
}

/// Something that happened since the last look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A child was forked: forking works.
    Born,
    /// A child died before it was ever ready.
    DiedStarting,
    /// A child was reaped, for Apache's rules. One that was never ready also gives [`Event::DiedStarting`].
    Reaped {
        /// Its slot.
        slot: u16,
        /// How it ended.
        exit: Exit,
    },
    /// A child could not be forked.
    ForkFailed,
    /// The mold died or could not be forked.
    MoldDied,
    /// A new generation has become the current one (`USR1` of Apache), of which at least the first child takes requests.
    /// Children of earlier ones serve on, with `is_current` of their [`ChildStats`] unset, and are replaced one after the other.
    /// Apache tells all of them to leave at once.
    GracefulRestart,
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// By itself: it was told to leave, or has exited.
    Normal,
    /// Killed by a signal.
    Signal,
    /// The machine was short of a resource (`APEXIT_CHILDSICK`: `EMFILE`, `ENFILE`, `ENOBUFS`).
    Sick,
    /// For a reason that would end every other child, too (`APEXIT_CHILDFATAL`).
    Fatal(Generation),
}

/// Which generation a child belonged to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generation {
    /// The one that serves.
    Current,
    /// One that has been replaced.
    Earlier,
}
