//! The rules of the pool: which processes to start, to replace and to stop.
//!
//! [`decide`] takes the present state and the events since its last call, a *look* for short, and returns the actions to
//! take. There is no clock and no system call here: the caller observes and acts, and time is an argument. What has to be
//! kept from look to look is a [`Memory`] of the caller's.
//!
//! There are three kinds of [`Pool`]: of a fixed size (`fixed`), growing and shrinking to the letter of Apache's prefork and
//! worker (`apache`), and with the same directives but a rule that cannot snowball (`safe`). In all three a child that is
//! old enough, or belongs to an earlier generation, is replaced in the same way (`turnover`).
//!
//! The front, one for all sites, has a function of its own: [`decide_front`].

#![forbid(unsafe_code)]

mod action;
mod apache;
mod backoff;
mod backoffs;
mod directives;
mod fixed;
mod front;
mod limits;
mod observed;
mod plan;
mod safe;
#[cfg(test)]
mod scenarios;
#[cfg(test)]
mod tests;
mod threads;
mod turnover;

pub use action::{Action, GiveUp, Message, Reason};
pub use directives::{Correction, Directive, Directives, Elastic, Mpm};
pub use front::{Front, FrontAction, FrontMemory, decide_front};
pub use limits::{Limits, Pool, Recycling, Safe};
pub use observed::{Child, ChildStats, Demand, Event, Exit, Generation, Mold, Observed, Weight};
pub use threads::{ThreadLimitRule, ThreadSample};

use backoffs::Backoffs;
use plan::Plan;

/// What is kept from look to look: the waits after failures, and the state of an elastic pool.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    backoffs: Backoffs,
    apache: apache::Parent,
    safe: safe::Growth,
}

/// The actions to take. The same arguments always give the same ones.
///
/// [`Action::LookAgain`] tells when to call again, for an elastic pool mostly within a second; an earlier call does no harm.
#[must_use]
pub fn decide(limits: &Limits, memory: &mut Memory, seen: &Observed<'_>) -> Vec<Action> {
    memory.backoffs.update(seen);
    let mut plan = Plan::begin(limits, &memory.backoffs, seen);
    let complete = match &limits.pool {
        Pool::Fixed { processes } => fixed::decide(*processes, &memory.backoffs, seen, &mut plan),
        Pool::Apache(elastic) => memory.apache.decide(elastic, seen, &mut plan),
        Pool::Safe(safe) => memory.safe.decide(safe, &memory.backoffs, seen, &mut plan),
    };
    turnover::decide(&limits.recycling, seen, complete, &mut plan);
    plan.finish()
}
