//! The queue of requests that wait for a thread.
//!
//! An entry only names a slot; a thread claims the request by changing the slot's state. So a child that is killed between
//! any two instructions leaves either a request that still waits, or a claim with its name. The front alone adds entries.
//! Any thread of any child removes them, and moves the head past entries that others have taken.
//!
//! Any process that has the mapping may overwrite it. So the front keeps in its own memory what it has entered and where
//! (`Dispatcher::waiting`), and repairs the queue where it differs; threads take no more steps than there are entries,
//! whatever values head and tail have.

use crate::ids::{Owner, RequestId};
use crate::slot_state::{AtomicSlotState, SlotState};
use crate::sync::{AtomicU64, Ordering};

/// A view of the queue in the mapping.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Queue<'a> {
    /// Position of the oldest entry that may still wait.
    pub(crate) head: &'a AtomicU64,
    /// Position after the newest entry.
    pub(crate) tail: &'a AtomicU64,
    /// The entries; at least twice as many as slots, so that the queue can begin anew behind the old entries.
    pub(crate) entries: &'a [AtomicU64],
    /// The states of all slots.
    pub(crate) states: &'a [AtomicSlotState],
}

impl Queue<'_> {
    /// Enters a filled slot at `tail`, the position after the newest entry. Called by the front alone.
    pub(crate) fn push(&self, tail: u64, request_id: RequestId) {
        self.states[request_id.slot as usize].write(SlotState::Queued(request_id.seq));
        self.enter(tail, request_id);
        self.tail.store(tail.wrapping_add(1), Ordering::Release);
    }

    /// Takes the oldest waiting request for `owner`.
    pub(crate) fn claim(&self, owner: Owner) -> Option<RequestId> {
        let mut head = self.head.load(Ordering::Acquire);
        for _ in 0..self.entries.len() {
            if self.entries_from(head) == 0 {
                break;
            }
            let request_id = RequestId::unpack(self.entry(head).load(Ordering::Acquire));
            let claimed = self.state(request_id).is_some_and(|state| {
                state.change(
                    SlotState::Queued(request_id.seq),
                    SlotState::Claimed(owner, request_id.seq),
                )
            });
            // The entry does not wait any more, so that any thread may move the head past it; another may have done so.
            let next = head.wrapping_add(1);
            let passed =
                self.head
                    .compare_exchange(head, next, Ordering::AcqRel, Ordering::Acquire);
            if claimed {
                return Some(request_id);
            }
            head = passed.map_or_else(|actual| actual, |_| next);
        }
        None
    }

    /// Takes a request back that no thread has taken yet. Called by the front alone.
    pub(crate) fn withdraw(&self, request_id: RequestId) -> bool {
        self.states[request_id.slot as usize].change(
            SlotState::Queued(request_id.seq),
            SlotState::Free(request_id.seq),
        )
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many entries wait, withdrawn ones among them.
    pub(crate) fn len(&self) -> u64 {
        self.entries_from(self.head.load(Ordering::Acquire))
    }

    /// How many entries there are from `head` on: 0 where head and tail do not fit together, until the front repairs them.
    fn entries_from(&self, head: u64) -> u64 {
        let length = self.tail.load(Ordering::Acquire).wrapping_sub(head);
        if length <= self.entries.len() as u64 {
            length
        } else {
            0
        }
    }

    /// Whether the queue agrees with the front's own notes: its tail, and the position of the oldest request that may wait.
    /// Called by the front alone.
    pub(crate) fn agrees(&self, tail: u64, oldest: Option<(u64, RequestId)>) -> bool {
        let length = tail.wrapping_sub(self.head.load(Ordering::Acquire));
        // A thread moves the head past an entry only after the slot's state has changed.
        let is_passed =
            |(position, request_id)| tail.wrapping_sub(position) > length && self.waits(request_id);
        self.tail.load(Ordering::Relaxed) == tail
            && length <= self.entries.len() as u64
            && !oldest.is_some_and(is_passed)
    }

    /// Whether there is room for one more entry. Those of withdrawn requests count until a thread passes them.
    pub(crate) fn has_room(&self, tail: u64) -> bool {
        tail.wrapping_sub(self.head.load(Ordering::Acquire)) < self.entries.len() as u64
    }

    /// Begins the queue anew at `start` with these requests, and notes their positions; returns its tail. A thread that
    /// reads an old entry meanwhile can only claim what waits. Called by the front alone.
    pub(crate) fn renew<'t>(
        &self,
        start: u64,
        waiting: impl Iterator<Item = &'t mut (u64, RequestId)>,
    ) -> u64 {
        let mut tail = start;
        for (position, request_id) in waiting {
            *position = tail;
            self.enter(tail, *request_id);
            tail = tail.wrapping_add(1);
        }
        // The head moves last, so that the queue never looks empty to a thread that is about to park.
        self.tail.store(tail, Ordering::Release);
        self.head.store(start, Ordering::Release);
        tail
    }

    /// Whether no thread has taken this request.
    pub(crate) fn waits(&self, request_id: RequestId) -> bool {
        self.states[request_id.slot as usize].read() == SlotState::Queued(request_id.seq)
    }

    fn enter(&self, position: u64, request_id: RequestId) {
        self.entry(position)
            .store(request_id.pack(), Ordering::Release);
    }

    fn entry(&self, position: u64) -> &AtomicU64 {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "smaller than the length of a slice"
        )]
        let index = (position % self.entries.len() as u64) as usize;
        &self.entries[index]
    }

    fn state(&self, request_id: RequestId) -> Option<&AtomicSlotState> {
        self.states.get(request_id.slot as usize)
    }
}
