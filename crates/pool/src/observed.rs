//! What the rules are told. No process numbers: a child is its slot.

use std::time::Duration;

/// What there is. Times count from the start of the server.
#[derive(Clone, Copy, Debug)]
pub struct Observed<'a> {
    /// The present.
    pub now: Duration,
    /// The mold.
    pub mold: Mold,
    /// The children by slot.
    pub children: &'a [Child],
    /// What is known of each of them beyond that, for whoever recycles; nothing when nobody does.
    pub lives: &'a [Life],
    /// What waits for a child.
    pub demand: Demand,
    /// What children weigh; nothing until one has been measured.
    pub weight: Option<Weight>,
    /// Thousandths of a core that ready children and the front take; nothing until it has been measured. What children that
    /// start take is not counted.
    pub computing: Option<u32>,
    /// What has happened since the last look, in that order.
    pub events: &'a [Event],
}

/// The mold as the supervisor sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mold {
    /// There is none.
    Absent,
    /// It imports the application.
    Loading {
        /// Since when.
        since: Duration,
    },
    /// It forks children when told.
    Ready {
        /// Since when.
        since: Duration,
    },
    /// It has been told to go or killed, and is not reaped yet.
    Leaving,
}

/// A child slot as the supervisor sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Child {
    /// Nobody: a child may be ordered here. Apache's scoreboard shows `.`.
    Vacant,
    /// The mold has been told and the child is not born yet. To Apache's rules it is one that starts.
    Ordered {
        /// Since when.
        since: Duration,
    },
    /// It is born and takes no request yet: `S`.
    Starting {
        /// Since when.
        since: Duration,
    },
    /// It takes requests: `_` as long as it holds none, `W` when every thread has one.
    Ready {
        /// Since when.
        since: Duration,
        /// Application threads that hold a request. A fixed pool does not look at it.
        busy: u16,
    },
    /// It takes requests, and is to go as soon as the pool is complete without it: see [`crate::Action::Replace`].
    Outgoing,
    /// It has been told to go, and finishes the requests that it has: `G`.
    Draining {
        /// Since when.
        since: Duration,
    },
    /// It has been killed, and is not reaped yet: `G`.
    Leaving,
    /// It is reaped; what it left behind is not cleared yet.
    Gone,
}

/// What a child has behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// It belongs to the generation that serves, and not to an earlier one.
    pub is_current: bool,
    /// Requests that it has answered.
    pub requests: u64,
    /// Since when it has had none, if it has answered some.
    pub idle_since: Option<Duration>,
    /// Bytes that are its own, when they have been measured.
    pub private: Option<u64>,
}

/// What waits in front of the children.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// Complete requests that no application thread has taken.
    pub waiting: u32,
    /// How long the oldest of them has waited.
    pub longest_wait: Duration,
}

/// What children weigh, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weight {
    /// What is there once, however many children there are: supervisor, front, mold and what children share with it.
    pub shared: u64,
    /// What one more child costs. The caller measures; the most that a child has come to is on the safe side, because
    /// one that has just been forked has nothing of its own yet.
    pub private: u64,
}

/// Something that happened since the last look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A child was born: forking works.
    Born,
    /// A child died before it was ever ready.
    DiedStarting,
    /// A child was reaped. Apache's rules want to know of each; [`Event::DiedStarting`] is told besides.
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
    /// Those of the earlier ones are what they were, except that their [`Life`] says so: they serve on, and go one after
    /// the other. Apache has told all of them to go by then.
    GracefulRestart,
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// By itself: told to go, or done.
    Normal,
    /// Killed by a signal.
    Signal,
    /// For want of something that the machine is short of (`APEXIT_CHILDSICK`: `EMFILE`, `ENFILE`, `ENOBUFS`).
    Sick,
    /// For a reason that every other child will meet, too (`APEXIT_CHILDFATAL`).
    Fatal(Generation),
}

/// Which generation a child belonged to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generation {
    /// The one that serves.
    Current,
    /// One that has been told to go.
    Earlier,
}
