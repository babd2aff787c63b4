//! How busy the children are, as the pool's size depends on it.

use crate::exchange::Exchange;
use crate::slot_state::SlotState;
use crate::sync::Ordering;

/// Busy threads and waiting requests. The values are read one after the other, so they may be of slightly different times.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Application threads of each child slot that have a request.
    pub busy: Vec<u16>,
    /// Requests that were offered so far. Those that had to be queued again count again.
    pub offered: u64,
    /// Those of them that no longer wait.
    pub taken: u64,
}

impl Load {
    /// Requests that wait for a thread.
    #[must_use]
    pub fn waiting(&self) -> u32 {
        u32::try_from(self.offered.saturating_sub(self.taken)).unwrap_or(u32::MAX)
    }
}

impl Exchange {
    /// Reads the state of every slot.
    #[must_use]
    pub fn load(&self) -> Load {
        let mut busy = vec![0; usize::from(self.geometry().children)];
        for state in self.mapping.states() {
            // A claim that was overwritten may name a child slot that does not exist.
            if let SlotState::Claimed(owner, _) = state.read()
                && let Some(count) = busy.get_mut(usize::from(owner.child.slot))
            {
                *count += 1;
            }
        }
        let most = u16::from(self.geometry().threads);
        // A thread can have two claims: one whose answer the front has not read yet, and its next request.
        busy.iter_mut().for_each(|count| *count = most.min(*count));
        let header = self.mapping.header();
        let taken = header.head.load(Ordering::Acquire);
        let offered = header.tail.load(Ordering::Acquire);
        // More requests than slots cannot have been offered: then the positions were overwritten.
        let waiting = offered.saturating_sub(taken);
        let slots = self.mapping.states().len() as u64;
        Load {
            busy,
            offered: taken.saturating_add(waiting.min(slots)),
            taken,
        }
    }
}
