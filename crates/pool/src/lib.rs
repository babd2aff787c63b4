//! What the pool should do next, decided without doing it.
//!
//! [`decide`] is told what there is and what has happened since the last look, and answers with what is to be done.
//! No clock and no system call: the caller observes and performs, and time is an argument. What has to be remembered
//! from look to look is a [`Memory`] that the caller keeps.
//!
//! A child that has lived long enough, or belongs to an earlier generation, is replaced in the same way by all of them:
//! `turnover`.
//!
//! The front, which is one for all sites, is decided about by [`decide_front`].
//!
//! There are three kinds of [`Pool`]: one of a fixed size, one that grows and shrinks to the letter of Apache's prefork
//! and worker, and one with the same directives that cannot snowball.

#![forbid(unsafe_code)]

mod action;
mod apache;
mod directives;
mod fixed;
mod front;
mod limits;
mod observed;
mod pace;
mod paces;
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
pub use observed::{Child, Demand, Event, Exit, Generation, Life, Mold, Observed, Weight};
pub use threads::{ThreadLimitRule, ThreadSample};

use paces::Paces;
use plan::Plan;

/// What is remembered from look to look: how patiently to try again what has failed, and how far an elastic pool has come.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    paces: Paces,
    apache: apache::Parent,
    safe: safe::Growth,
}

/// Says what to do about what is observed. The same arguments always have the same answer.
///
/// An elastic pool asks by [`Action::LookAgain`] to be looked at again, mostly within a second; looking earlier does no
/// harm.
#[must_use]
pub fn decide(limits: &Limits, memory: &mut Memory, seen: &Observed<'_>) -> Vec<Action> {
    memory.paces.learn(seen);
    let mut plan = Plan::begin(limits, &memory.paces, seen);
    let complete = match &limits.pool {
        Pool::Fixed { processes } => fixed::look(*processes, &memory.paces, seen, &mut plan),
        Pool::Apache(elastic) => memory.apache.look(elastic, seen, &mut plan),
        Pool::Safe(safe) => memory.safe.look(safe, &memory.paces, seen, &mut plan),
    };
    turnover::look(&limits.recycling, seen, complete, &mut plan);
    plan.finish()
}
