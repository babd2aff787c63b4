//! The queue of requests that wait for a thread.
//!
//! The queue only says where to look; what is claimed is the slot's word. So a child that is killed between any two
//! instructions leaves either a request that still waits, or a claim that bears its name. The front is the only one
//! that puts in; any thread of any child takes out, and helps the head past what others have taken.
//!
//! Any process that has the mapping may write anything into it. So the front keeps for itself what it has put in and where
//! (`line`), and puts the queue right where it differs; the others take no more steps than there are entries, whatever
//! head and tail say.

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
    /// The entries; at least twice as many as slots, so that all that waits fits in once more.
    pub(crate) entries: &'a [AtomicU64],
    /// The words of all slots.
    pub(crate) words: &'a [AtomicSlotState],
}

impl Queue<'_> {
    /// Puts a filled slot in at `tail`, the position after the newest entry. Called by the front alone.
    pub(crate) fn push(&self, tail: u64, request_id: RequestId) {
        self.words[request_id.slot as usize].write(SlotState::Queued(request_id.seq));
        self.enter(tail, request_id);
        self.tail.store(tail.wrapping_add(1), Ordering::Release);
    }

    /// Takes the oldest waiting request for `owner`.
    pub(crate) fn claim(&self, owner: Owner) -> Option<RequestId> {
        let mut head = self.head.load(Ordering::Acquire);
        for _ in 0..self.entries.len() {
            if self.behind(head) == 0 {
                break;
            }
            let request_id = RequestId::unpack(self.entry(head).load(Ordering::Acquire));
            let claimed = self.word(request_id).is_some_and(|word| {
                word.change(
                    SlotState::Queued(request_id.seq),
                    SlotState::Claimed(owner, request_id.seq),
                )
            });
            // Whoever saw that the entry no longer waits may pass it; another may have been faster.
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
        self.words[request_id.slot as usize].change(
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
        self.behind(self.head.load(Ordering::Acquire))
    }

    /// How many entries there are from `head` on: none where the two positions cannot belong to one queue, which the front
    /// puts right.
    fn behind(&self, head: u64) -> u64 {
        let length = self.tail.load(Ordering::Acquire).wrapping_sub(head);
        if length <= self.entries.len() as u64 {
            length
        } else {
            0
        }
    }

    /// Whether the queue says what the front knows: its tail, and the position of the oldest request that may wait. Called
    /// by the front alone.
    pub(crate) fn agrees(&self, tail: u64, oldest: Option<(u64, RequestId)>) -> bool {
        let length = tail.wrapping_sub(self.head.load(Ordering::Acquire));
        // A thread passes only what no longer waits: it has changed the word before.
        let is_passed =
            |(position, request_id)| tail.wrapping_sub(position) > length && self.waits(request_id);
        self.tail.load(Ordering::Relaxed) == tail
            && length <= self.entries.len() as u64
            && !oldest.is_some_and(is_passed)
    }

    /// Whether one more request fits in. Entries of withdrawn ones count until a thread passes them.
    pub(crate) fn has_room(&self, tail: u64) -> bool {
        tail.wrapping_sub(self.head.load(Ordering::Acquire)) < self.entries.len() as u64
    }

    /// Has the queue begin anew at `start` with these requests, and notes their positions; returns its tail. A thread that
    /// reads an old entry meanwhile can only claim what waits. Called by the front alone.
    pub(crate) fn renew<'t>(
        &self,
        start: u64,
        line: impl Iterator<Item = &'t mut (u64, RequestId)>,
    ) -> u64 {
        let mut tail = start;
        for (position, request_id) in line {
            *position = tail;
            self.enter(tail, *request_id);
            tail = tail.wrapping_add(1);
        }
        // The head moves last: at no moment does the queue look empty to a thread that is about to sleep.
        self.tail.store(tail, Ordering::Release);
        self.head.store(start, Ordering::Release);
        tail
    }

    /// Whether no thread has taken this request.
    pub(crate) fn waits(&self, request_id: RequestId) -> bool {
        self.words[request_id.slot as usize].read() == SlotState::Queued(request_id.seq)
    }

    fn enter(&self, position: u64, request_id: RequestId) {
        self.entry(position)
            .store(request_id.pack(), Ordering::Release);
    }

    fn entry(&self, position: u64) -> &AtomicU64 {
        // The remainder is smaller than a slice's length.
        #[expect(
            clippy::cast_possible_truncation,
            reason = "smaller than the length of a slice"
        )]
        let index = (position % self.entries.len() as u64) as usize;
        &self.entries[index]
    }

    fn word(&self, request_id: RequestId) -> Option<&AtomicSlotState> {
        self.words.get(request_id.slot as usize)
    }
}
