//! The fixed pool: so many children, and one that is gone is replaced at once.

use crate::paces::Paces;
use crate::plan::{ORDERS_AHEAD, Plan};
use crate::{Child, Observed};

/// Starts what is lacking, or tells those to go that are too many. Tells whether all are there and ready.
pub(crate) fn look(processes: u16, paces: &Paces, seen: &Observed<'_>, plan: &mut Plan) -> bool {
    let count = |is: fn(&Child) -> bool| seen.children.iter().filter(|child| is(child)).count();
    let wanted = usize::from(processes);
    let ready = count(|child| matches!(child, Child::Ready { .. }));
    let coming = count(|child| matches!(child, Child::Ordered { .. } | Child::Starting { .. }));
    // A slot that is not cleared yet will be in a moment: its own next child takes the place of the last.
    let gone = count(|child| *child == Child::Gone);
    if ready + coming + gone < wanted {
        grow(wanted - ready - coming - gone, paces, seen, plan);
    } else if ready + coming > wanted && seen.lives.iter().all(|life| life.is_current) {
        // While a generation is replaced by the next, there is one child more, and the turnover says who goes.
        shrink(ready.min(ready + coming - wanted), seen, plan);
    }
    ready >= wanted && coming == 0
}

fn grow(lacking: usize, paces: &Paces, seen: &Observed<'_>, plan: &mut Plan) {
    let mut vacant = (0..)
        .zip(seen.children)
        .filter(|(_, child)| **child == Child::Vacant)
        .map(|(slot, _)| slot)
        .take(lacking)
        .peekable();
    if vacant.peek().is_none() || !plan.can_fork() || !plan.due(paces.next_birth()) {
        return;
    }
    // While forks fail, one child at a time finds out whether they work again.
    let ahead = if paces.forks.is_troubled() {
        1
    } else {
        ORDERS_AHEAD
    };
    for slot in vacant.take(plan.room(ahead)) {
        plan.spawn(slot);
    }
}

/// Those without a request go first, and of several the ones in the highest slots.
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
