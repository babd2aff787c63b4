//! The actions that are being collected, and the part of the decision that is the same for every kind of pool.

use std::time::Duration;

use crate::backoffs::Backoffs;
use crate::{Action, Child, Limits, Mold, Observed};

/// The most children that may be ordered and not yet forked: a mold forks one after the other, so more would only wait.
pub(crate) const MAX_PENDING_ORDERS: usize = 32;

#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) now: Duration,
    actions: Vec<Action>,
    next: Option<Duration>,
    can_fork: bool,
    ordered: usize,
    startup_timeout: Duration,
    shutdown_timeout: Duration,
}

impl Plan {
    /// Begins with the actions about the mold and about children whose deadline has passed.
    pub(crate) fn begin(limits: &Limits, backoffs: &Backoffs, seen: &Observed<'_>) -> Self {
        let mut plan = Self {
            now: seen.now,
            actions: Vec::new(),
            next: None,
            can_fork: false,
            ordered: ordered(seen.children),
            startup_timeout: limits.startup_timeout,
            shutdown_timeout: limits.shutdown_timeout,
        };
        plan.mold(backoffs, seen);
        plan.late_children(seen);
        plan.can_fork =
            matches!(seen.mold, Mold::Ready { .. }) && !plan.actions.contains(&Action::KillMold);
        plan
    }

    /// Whether there is a mold that carries out orders.
    pub(crate) fn can_fork(&self) -> bool {
        self.can_fork
    }

    /// How many children may still be ordered, when `ahead` may be ordered and not yet forked.
    pub(crate) fn room(&self, ahead: usize) -> usize {
        if self.can_fork {
            ahead.saturating_sub(self.ordered)
        } else {
            0
        }
    }

    /// Orders a child. The mold may hang, of which there is no event, so the deadline is a time to look again.
    pub(crate) fn spawn(&mut self, slot: u16) {
        self.ordered += 1;
        self.add(Action::Spawn { slot });
        self.look_after(self.startup_timeout);
    }

    /// Tells a child to leave. It may hang, of which there is no event either.
    pub(crate) fn retire(&mut self, slot: u16) {
        self.add(Action::Retire { slot });
        self.look_after(self.shutdown_timeout);
    }

    /// Asks for a look after this time, at the earliest in a millisecond.
    fn look_after(&mut self, time: Duration) {
        let at = self.now + time.max(Duration::from_millis(1));
        self.next = Some(self.next.map_or(at, |next| next.min(at)));
    }

    /// Whether a child is told to leave.
    pub(crate) fn retires(&self) -> bool {
        self.actions
            .iter()
            .any(|action| matches!(action, Action::Retire { .. }))
    }

    /// Adds an action.
    pub(crate) fn add(&mut self, action: Action) {
        self.actions.push(action);
    }

    /// Whether this time has come; if not, asks for a look then.
    pub(crate) fn due(&mut self, at: Duration) -> bool {
        if at <= self.now {
            return true;
        }
        self.next = Some(self.next.map_or(at, |next| next.min(at)));
        false
    }

    pub(crate) fn finish(mut self) -> Vec<Action> {
        self.actions
            .extend(self.next.map(|at| Action::LookAgain { at }));
        self.actions
    }

    fn mold(&mut self, backoffs: &Backoffs, seen: &Observed<'_>) {
        match seen.mold {
            Mold::Absent => {
                if self.due(backoffs.molds.not_before()) {
                    self.add(Action::BuildMold);
                }
            }
            Mold::Loading { since } => {
                if self.due(since + self.startup_timeout) {
                    self.add(Action::KillMold);
                }
            }
            Mold::Ready { .. } => {
                // A mold that does not carry out its oldest order hangs, in a fork hook for instance.
                let oldest = seen.children.iter().filter_map(|child| match child {
                    Child::Ordered { since } => Some(*since),
                    _ => None,
                });
                if let Some(since) = oldest.min()
                    && self.due(since + self.startup_timeout)
                {
                    self.add(Action::KillMold);
                }
            }
            Mold::Leaving => {}
        }
    }

    fn late_children(&mut self, seen: &Observed<'_>) {
        for (slot, child) in (0..).zip(seen.children) {
            let limit = match *child {
                Child::Starting { since } => since + self.startup_timeout,
                Child::Draining { since } => since + self.shutdown_timeout,
                _ => continue,
            };
            if self.due(limit) {
                self.add(Action::Kill { slot });
            }
        }
    }
}

fn ordered(children: &[Child]) -> usize {
    children
        .iter()
        .filter(|child| matches!(child, Child::Ordered { .. }))
        .count()
}
