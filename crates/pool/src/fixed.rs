//! The fixed pool: always the same number of children; one that ends is replaced at once.

use crate::backoffs::Backoffs;
use crate::plan::{MAX_PENDING_ORDERS, Plan};
use crate::{Child, Observed};

/// Starts the children that are lacking, or retires surplus ones. Returns whether all are there and ready.
pub(crate) fn decide(
    processes: u16,
    backoffs: &Backoffs,
    seen: &Observed<'_>,
    plan: &mut Plan,
) -> bool {
    let count = |is: fn(&Child) -> bool| seen.children.iter().filter(|child| is(child)).count();
    let wanted = usize::from(processes);
    let ready = count(|child| matches!(child, Child::Ready { .. }));
    let coming = count(|child| matches!(child, Child::Ordered { .. } | Child::Starting { .. }));
    // A slot that is not cleared yet will be soon, and then the next child is started in it.
    let gone = count(|child| *child == Child::Gone);
    if ready + coming + gone < wanted {
        grow(wanted - ready - coming - gone, backoffs, seen, plan);
    } else if ready + coming > wanted && seen.stats.iter().all(|stats| stats.is_current) {
        // While a generation is replaced by the next there is one child more, and `turnover` chooses which one leaves.
        shrink(ready.min(ready + coming - wanted), seen, plan);
    }
    ready >= wanted && coming == 0
}

fn grow(lacking: usize, backoffs: &Backoffs, seen: &Observed<'_>, plan: &mut Plan) {
    let mut vacant = (0..)
        .zip(seen.children)
        .filter(|(_, child)| **child == Child::Vacant)
        .map(|(slot, _)| slot)
        .take(lacking)
        .peekable();
    if vacant.peek().is_none() || !plan.can_fork() || !plan.due(backoffs.next_start()) {
        return;
    }
    // While forks fail, one child at a time is ordered, to find out whether they work again.
    let ahead = if backoffs.forks.has_failed() {
        1
    } else {
        MAX_PENDING_ORDERS
    };
    for slot in vacant.take(plan.room(ahead)) {
        plan.spawn(slot);
    }
}

/// Retires children without a request first, and of several those in the highest slots.
fn shrink(surplus: usize, seen: &Observed<'_>, plan: &mut Plan) {
    let mut ready: Vec<_> = (0..)
        .zip(seen.children)
        .filter_map(|(slot, child)| match *child {
            Child::Ready { busy, .. } => Some((busy, std::cmp::Reverse(slot))),
            _ => None,
        })
        .collect();
    ready.sort_unstable();
    for (_, std::cmp::Reverse(slot)) in ready.into_iter().take(surplus) {
        plan.retire(slot);
    }
}
