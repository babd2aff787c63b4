//! What the pool should do next, decided without doing it.
//!
//! [`decide`] is told what there is and what has happened since the last look, and answers with what is to be done.
//! No clock and no system call: the caller observes and performs, and time is an argument.

#![forbid(unsafe_code)]

mod pace;
#[cfg(test)]
mod scenarios;

use std::time::Duration;

use pace::Pace;

/// Children that may be ordered and not yet born: a mold forks one after the other, so more would only wait in line.
const ORDERS_AHEAD: usize = 32;

/// A process that has been up for so long ends the back-off that its predecessors have earned.
const SETTLED: Duration = Duration::from_secs(5);

/// The bounds that the operator has set.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Children to keep.
    pub processes: u16,
    /// How long a mold or a child may take until it is ready.
    pub startup_timeout: Duration,
}

/// What there is. Times count from the start of the server.
#[derive(Clone, Copy, Debug)]
pub struct Observed<'a> {
    /// The present.
    pub now: Duration,
    /// The front.
    pub front: Front,
    /// The mold.
    pub mold: Mold,
    /// The children by slot.
    pub children: &'a [Child],
    /// What has happened since the last look.
    pub events: &'a [Event],
}

/// The front as the supervisor sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Front {
    /// There is none.
    Absent,
    /// It has been started and does not accept connections yet.
    Starting,
    /// It accepts connections.
    Serving {
        /// Since when.
        since: Duration,
    },
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
    /// Nobody: a child may be ordered here.
    Vacant,
    /// The mold has been told and the child is not born yet.
    Ordered {
        /// Since when.
        since: Duration,
    },
    /// It is born and takes no request yet.
    Starting {
        /// Since when.
        since: Duration,
    },
    /// It takes requests.
    Ready {
        /// Since when.
        since: Duration,
    },
    /// It has been told to go or killed, and is not reaped yet.
    Leaving,
    /// It is reaped; what it left behind is not cleared yet.
    Gone,
}

/// Something that happened since the last look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A child was born: forking works.
    Born,
    /// A child died before it was ever ready.
    DiedStarting,
    /// A child could not be forked.
    ForkFailed,
    /// The front died or could not be forked.
    FrontDied,
    /// The mold died or could not be forked.
    MoldDied,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Start a front.
    StartFront,
    /// Build a mold.
    BuildMold,
    /// Kill the mold: it has taken too long.
    KillMold,
    /// Order a child.
    Spawn {
        /// Its slot.
        slot: u16,
    },
    /// Kill a child: it has taken too long to be ready.
    Kill {
        /// Its slot.
        slot: u16,
    },
    /// Nothing else happening, look again at this time, which is to come.
    LookAgain {
        /// When.
        at: Duration,
    },
}

/// What is remembered from look to look: how patiently to try again what has failed.
#[derive(Clone, Debug)]
pub struct Memory {
    births: Pace,
    forks: Pace,
    fronts: Pace,
    molds: Pace,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            births: Pace::at_once(),
            forks: Pace::in_a_second(),
            fronts: Pace::at_once(),
            molds: Pace::at_once(),
        }
    }
}

/// Says what to do about what is observed.
#[must_use]
pub fn decide(limits: &Limits, memory: &mut Memory, seen: &Observed<'_>) -> Vec<Action> {
    memory.learn(seen);
    let mut plan = Plan {
        now: seen.now,
        actions: Vec::new(),
        next: None,
    };
    plan.front(memory, seen);
    plan.mold(limits, memory, seen);
    plan.children(limits, memory, seen);
    plan.finish()
}

impl Memory {
    /// What has settled is believed before what has just failed is held against it.
    fn learn(&mut self, seen: &Observed<'_>) {
        let now = seen.now;
        let settled = |since: Duration| now.saturating_sub(since) >= SETTLED;
        for child in seen.children {
            if let Child::Ready { since } = *child
                && settled(since)
            {
                self.births.succeeded(since);
            }
        }
        if let Mold::Ready { since } = seen.mold
            && settled(since)
        {
            self.molds.succeeded(since);
        }
        if let Front::Serving { since } = seen.front
            && settled(since)
        {
            self.fronts.succeeded(since);
        }
        if seen.events.contains(&Event::Born) {
            self.forks.succeeded(now);
        }
        // Several of a kind in one look have one cause, and count once.
        for (event, pace) in [
            (Event::DiedStarting, &mut self.births),
            (Event::ForkFailed, &mut self.forks),
            (Event::FrontDied, &mut self.fronts),
            (Event::MoldDied, &mut self.molds),
        ] {
            if seen.events.contains(&event) {
                pace.failed(now);
            }
        }
    }
}

/// The decision as it grows.
struct Plan {
    now: Duration,
    actions: Vec<Action>,
    next: Option<Duration>,
}

impl Plan {
    fn front(&mut self, memory: &Memory, seen: &Observed<'_>) {
        if seen.front == Front::Absent && self.due(memory.fronts.not_before()) {
            self.actions.push(Action::StartFront);
        }
    }

    fn mold(&mut self, limits: &Limits, memory: &Memory, seen: &Observed<'_>) {
        match seen.mold {
            Mold::Absent => {
                if self.due(memory.molds.not_before()) {
                    self.actions.push(Action::BuildMold);
                }
            }
            Mold::Loading { since } => {
                if self.due(since + limits.startup_timeout) {
                    self.actions.push(Action::KillMold);
                }
            }
            Mold::Ready { .. } => {
                // A mold that does not carry out its oldest order hangs, in a fork hook for instance.
                let oldest = seen.children.iter().filter_map(|child| match child {
                    Child::Ordered { since } => Some(*since),
                    _ => None,
                });
                if let Some(since) = oldest.min()
                    && self.due(since + limits.startup_timeout)
                {
                    self.actions.push(Action::KillMold);
                }
            }
            Mold::Leaving => {}
        }
    }

    fn children(&mut self, limits: &Limits, memory: &Memory, seen: &Observed<'_>) {
        let slots = (0..limits.processes).zip(seen.children);
        for (slot, child) in slots.clone() {
            if let Child::Starting { since } = *child
                && self.due(since + limits.startup_timeout)
            {
                self.actions.push(Action::Kill { slot });
            }
        }
        if !matches!(seen.mold, Mold::Ready { .. }) || self.actions.contains(&Action::KillMold) {
            return;
        }
        let mut vacant = slots
            .filter(|(_, child)| **child == Child::Vacant)
            .map(|(slot, _)| slot)
            .peekable();
        if vacant.peek().is_none()
            || !self.due(memory.births.not_before().max(memory.forks.not_before()))
        {
            return;
        }
        // While forks fail, one child at a time finds out whether they work again.
        let ahead = if memory.forks.is_troubled() {
            1
        } else {
            ORDERS_AHEAD
        };
        let ordered = seen
            .children
            .iter()
            .filter(|child| matches!(child, Child::Ordered { .. }))
            .count();
        self.actions.extend(
            vacant
                .take(ahead.saturating_sub(ordered))
                .map(|slot| Action::Spawn { slot }),
        );
    }

    /// Whether the time has come; if not, it is a reason to look again.
    fn due(&mut self, at: Duration) -> bool {
        if at <= self.now {
            return true;
        }
        self.next = Some(self.next.map_or(at, |next| next.min(at)));
        false
    }

    fn finish(mut self) -> Vec<Action> {
        self.actions
            .extend(self.next.map(|at| Action::LookAgain { at }));
        self.actions
    }
}
