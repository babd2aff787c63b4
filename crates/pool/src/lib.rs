//! What the pool should do next, decided without doing it.
//!
//! [`decide`] is told what there is and what has happened since the last look, and answers with what is to be done.
//! No clock and no system call: the caller observes and performs, and time is an argument. What has to be remembered
//! from look to look is a [`Memory`] that the caller keeps.
//!
//! A child that has lived long enough, or belongs to an earlier generation, is replaced in the same way by all of them:
//! `turnover`.
//!
//! There are three kinds of [`Pool`]: one of a fixed size, one that grows and shrinks to the letter of Apache's prefork
//! and worker, and one with the same directives that cannot snowball.

#![forbid(unsafe_code)]

mod action;
mod apache;
mod directives;
mod fixed;
mod observed;
mod pace;
mod plan;
mod safe;
#[cfg(test)]
mod scenarios;
#[cfg(test)]
mod tests;
mod threads;
mod turnover;

use std::time::Duration;

pub use action::{Action, GiveUp, Message};
pub use directives::{Correction, Directive, Directives, Elastic, Mpm};
pub use observed::{Child, Demand, Event, Exit, Front, Generation, Life, Mold, Observed, Weight};
pub use threads::{Seen, Threads};
pub use turnover::{Reason, Recycling};

use pace::Pace;
use plan::Plan;

/// A process that has been up for so long ends the back-off that its predecessors have earned.
const SETTLED: Duration = Duration::from_secs(5);

/// The bounds that the operator has set.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How many children there should be.
    pub pool: Pool,
    /// When a child has lived long enough.
    pub recycling: Recycling,
    /// How long a mold or a child may take until it is ready.
    pub startup_timeout: Duration,
    /// How long a child that has been told to go may take until it has gone.
    pub shutdown_timeout: Duration,
}

/// How many children there should be.
#[derive(Clone, Copy, Debug)]
pub enum Pool {
    /// Always the same number.
    Fixed {
        /// Children to keep.
        processes: u16,
    },
    /// As many as Apache's prefork or worker would have, pass for pass, once a second.
    Apache(Elastic),
    /// As many as are needed, without Apache's snowball.
    Safe(Safe),
}

/// The bounds of an elastic pool that cannot snowball.
#[derive(Clone, Copy, Debug)]
pub struct Safe {
    /// When to grow and to shrink, and how far.
    pub elastic: Elastic,
    /// Cores that the children may use. Starting a child takes one, so no more children start at a time. Once `StartServers`
    /// are there it is as many as [`Observed::computing`] leaves; half of them do in any case, and at least one.
    pub cores: u16,
    /// Bytes that the server may use. The pool grows up to the number of children that fit in, and gives up idle ones above
    /// it. One child always fits in, and no other before [`Observed::weight`] is known. Nothing: no budget.
    pub memory_budget: Option<u64>,
}

/// What is remembered from look to look: how patiently to try again what has failed, and how far an elastic pool has come.
#[derive(Clone, Debug)]
pub struct Memory {
    births: Pace,
    forks: Pace,
    fronts: Pace,
    molds: Pace,
    apache: apache::Parent,
    safe: safe::Growth,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            births: Pace::at_once(),
            forks: Pace::in_a_second(),
            fronts: Pace::at_once(),
            molds: Pace::at_once(),
            apache: apache::Parent::default(),
            safe: safe::Growth::default(),
        }
    }
}

/// Says what to do about what is observed. The same arguments always have the same answer.
///
/// An elastic pool asks by [`Action::LookAgain`] to be looked at again, mostly within a second; looking earlier does no
/// harm.
#[must_use]
pub fn decide(limits: &Limits, memory: &mut Memory, seen: &Observed<'_>) -> Vec<Action> {
    memory.learn(seen);
    let mut plan = Plan::begin(limits, memory, seen);
    let complete = match &limits.pool {
        Pool::Fixed { processes } => fixed::look(*processes, memory, seen, &mut plan),
        Pool::Apache(elastic) => memory.apache.look(elastic, seen, &mut plan),
        Pool::Safe(safe) => safe::look(safe, memory, seen, &mut plan),
    };
    turnover::look(&limits.recycling, seen, complete, &mut plan);
    plan.finish()
}

impl Memory {
    /// What has settled is believed before what has just failed is held against it.
    fn learn(&mut self, seen: &Observed<'_>) {
        let now = seen.now;
        let settled = |since: Duration| now.saturating_sub(since) >= SETTLED;
        for child in seen.children {
            if let Child::Ready { since, .. } = *child
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

    /// When the next child may be ordered, after those that have failed.
    fn next_birth(&self) -> Duration {
        self.births.not_before().max(self.forks.not_before())
    }
}
