//! The fixed pool: every slot has a child, and one that is gone is replaced at once.

use crate::plan::{ORDERS_AHEAD, Plan};
use crate::{Child, Memory, Observed};

/// Fills vacant slots.
pub(crate) fn look(processes: u16, memory: &Memory, seen: &Observed<'_>, plan: &mut Plan) {
    let mut vacant = (0..processes)
        .zip(seen.children)
        .filter(|(_, child)| **child == Child::Vacant)
        .map(|(slot, _)| slot)
        .peekable();
    if vacant.peek().is_none() || !plan.can_fork() || !plan.due(memory.next_birth()) {
        return;
    }
    // While forks fail, one child at a time finds out whether they work again.
    let ahead = if memory.forks.is_troubled() {
        1
    } else {
        ORDERS_AHEAD
    };
    for slot in vacant.take(plan.room(ahead)) {
        plan.spawn(slot);
    }
}
