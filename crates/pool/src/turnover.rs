//! Which child is replaced, and when it is told to leave: once the pool is complete without it.
//!
//! Children are replaced one after the other, whatever the reason. A child that is being replaced is *outgoing*: it still
//! takes requests but is not counted, so the pool starts another one by its usual rule, in a slot that is kept free for it.

use std::time::Duration;

use crate::plan::Plan;
use crate::{Action, Child, ChildStats, Observed, Reason, Recycling};

/// Retires outgoing children, or chooses the next. `complete`: the pool has all its children without the outgoing ones.
pub(crate) fn decide(recycling: &Recycling, seen: &Observed<'_>, complete: bool, plan: &mut Plan) {
    let outgoing = slots(seen, |child| *child == Child::Outgoing);
    if !outgoing.is_empty() {
        if complete {
            for slot in outgoing {
                plan.retire(slot);
            }
        }
        return;
    }
    let next = next(recycling, seen, plan);
    // When a child is being retired anyway, it may be the one that would be replaced.
    if complete
        && plan.can_fork()
        && !plan.retires()
        && let Some((slot, reason)) = next
        && has_room(seen, reason)
    {
        plan.add(Action::Replace { slot, reason });
    }
}

/// The child to be replaced next. When there is none, notes the time at which one will be due.
fn next(recycling: &Recycling, seen: &Observed<'_>, plan: &mut Plan) -> Option<(u16, Reason)> {
    let mut next: Option<(u16, Reason)> = None;
    for (slot, (child, stats)) in (0..).zip(seen.children.iter().zip(seen.stats)) {
        let Child::Ready { since, .. } = *child else {
            continue;
        };
        let reason = due(recycling, since, stats, plan);
        // Children of an earlier generation come before all others.
        let first = match (next, reason) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some((_, before)), Some(reason)) => {
                before != Reason::Reload && reason == Reason::Reload
            }
        };
        if first {
            next = reason.map(|reason| (slot, reason));
        }
    }
    next
}

fn due(
    recycling: &Recycling,
    since: Duration,
    stats: &ChildStats,
    plan: &mut Plan,
) -> Option<Reason> {
    if !stats.is_current {
        return Some(Reason::Reload);
    }
    if stats.terminated {
        return Some(Reason::Term);
    }
    let Recycling {
        max_requests,
        restart_interval,
        inactivity_timeout,
        max_memory,
    } = *recycling;
    if max_requests > 0 && stats.requests >= max_requests {
        return Some(Reason::MaxRequests);
    }
    if max_memory > 0 && stats.private.is_some_and(|private| private > max_memory) {
        return Some(Reason::MaxChildMemory);
    }
    if !restart_interval.is_zero() && plan.due(since + restart_interval) {
        return Some(Reason::RestartInterval);
    }
    if !inactivity_timeout.is_zero()
        && let Some(idle_since) = stats.idle_since
        && plan.due(idle_since + inactivity_timeout)
    {
        return Some(Reason::InactivityTimeout);
    }
    None
}

/// Whether another child may be replaced. Recycling waits until the last replaced child has ended. A reload does not, as
/// the requests of an old child may be long; a child for whose replacement no slot is free serves on until there is one.
fn has_room(seen: &Observed<'_>, reason: Reason) -> bool {
    let leaving = seen
        .children
        .iter()
        .any(|child| matches!(child, Child::Draining { .. } | Child::Leaving | Child::Gone));
    reason == Reason::Reload || !leaving
}

fn slots(seen: &Observed<'_>, is: fn(&Child) -> bool) -> Vec<u16> {
    (0..)
        .zip(seen.children)
        .filter(|(_, child)| is(child))
        .map(|(slot, _)| slot)
        .collect()
}
