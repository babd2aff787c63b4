//! Which child is replaced, and when it may go: once the pool is complete without it.
//!
//! One after the other, whatever the reason. A child that is being replaced still takes requests and is counted
//! nowhere, so that the pool starts another in the way in which it starts any; there is a slot to spare for it.

use std::time::Duration;

use crate::plan::Plan;
use crate::{Action, Child, Life, Observed, Reason, Recycling};

/// Lets children go that are replaced, or chooses the next. `complete`: the pool has what it wants without those.
pub(crate) fn look(recycling: &Recycling, seen: &Observed<'_>, complete: bool, plan: &mut Plan) {
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
    // Somebody who leaves anyway may be who would be replaced.
    if complete
        && plan.can_fork()
        && !plan.retires()
        && let Some((slot, reason)) = next
        && has_room(seen, reason)
    {
        plan.add(Action::Replace { slot, reason });
    }
}

/// The child to be replaced next. When there is none, the time at which there may be one is a reason to look again.
fn next(recycling: &Recycling, seen: &Observed<'_>, plan: &mut Plan) -> Option<(u16, Reason)> {
    let mut next: Option<(u16, Reason)> = None;
    for (slot, (child, life)) in (0..).zip(seen.children.iter().zip(seen.lives)) {
        let Child::Ready { since, .. } = *child else {
            continue;
        };
        let reason = due(recycling, since, life, plan);
        // A generation is replaced before anything else.
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

fn due(recycling: &Recycling, since: Duration, life: &Life, plan: &mut Plan) -> Option<Reason> {
    if !life.is_current {
        return Some(Reason::Reload);
    }
    let Recycling {
        max_requests,
        restart_interval,
        inactivity_timeout,
        max_memory,
    } = *recycling;
    if max_requests > 0 && life.requests >= max_requests {
        return Some(Reason::MaxRequests);
    }
    if max_memory > 0 && life.private.is_some_and(|private| private > max_memory) {
        return Some(Reason::MaxChildMemory);
    }
    if !restart_interval.is_zero() && plan.due(since + restart_interval) {
        return Some(Reason::RestartInterval);
    }
    if !inactivity_timeout.is_zero()
        && let Some(idle_since) = life.idle_since
        && plan.due(idle_since + inactivity_timeout)
    {
        return Some(Reason::InactivityTimeout);
    }
    None
}

/// Whether another child may be replaced: who is recycled has left before the next is. A new generation does not wait for
/// the long requests of the old one; without a slot for its replacement, a child serves on until there is one.
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
