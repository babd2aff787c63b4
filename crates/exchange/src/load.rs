//! How busy everybody is: for whoever sizes the pool.

use crate::exchange::Exchange;
use crate::slot_state::SlotState;
use crate::sync::Ordering;

/// What is going on at one moment, as far as many words that change can be read at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Application threads of each child slot that have a request.
    pub busy: Vec<u16>,
    /// Requests that were offered so far. Those that had to be put in line anew count again.
    pub offered: u64,
    /// Requests of these that no longer wait.
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
    /// Looks at every slot.
    #[must_use]
    pub fn load(&self) -> Load {
        let mut busy = vec![0; usize::from(self.geometry().children)];
        for word in self.mapping.words() {
            // A child slot that there is not was written by nobody of ours.
            if let SlotState::Claimed(owner, _) = word.read()
                && let Some(count) = busy.get_mut(usize::from(owner.child.slot))
            {
                *count += 1;
            }
        }
        let most = u16::from(self.geometry().threads);
        // An answer that the front has not read yet is still claimed, and its thread may have taken the next request.
        busy.iter_mut().for_each(|count| *count = most.min(*count));
        let header = self.mapping.header();
        let taken = header.head.load(Ordering::Acquire);
        let offered = header.tail.load(Ordering::Acquire);
        // More than there are slots for is nothing that the front has offered.
        let waiting = offered.saturating_sub(taken);
        let slots = self.mapping.words().len() as u64;
        Load {
            busy,
            offered: taken.saturating_add(waiting.min(slots)),
            taken,
        }
    }
}
