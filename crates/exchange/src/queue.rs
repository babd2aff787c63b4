//! The queue of requests that wait for a thread.
//!
//! The queue only says where to look; what is claimed is the slot's word. So a child that is killed between any two
//! instructions leaves either a request that still waits, or a claim that bears its name. The front is the only one
//! that puts in; any thread of any child takes out, and helps the head past what others have taken.

use crate::ids::{Owner, Ticket};
use crate::sync::{AtomicU64, Ordering};
use crate::word::{SlotWord, Word};

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
    pub(crate) words: &'a [SlotWord],
}

impl Queue<'_> {
    /// Puts a filled slot in; [`Queue::waiting`] has said that there is room. Called by the front alone.
    pub(crate) fn push(&self, ticket: Ticket) {
        self.words[ticket.slot as usize].write(Word::Queued(ticket.seq));
        let tail = self.tail.load(Ordering::Relaxed);
        self.entry(tail).store(ticket.pack(), Ordering::Release);
        self.tail.store(tail + 1, Ordering::Release);
    }

    /// Takes the oldest waiting request for `owner`.
    pub(crate) fn claim(&self, owner: Owner) -> Option<Ticket> {
        let mut head = self.head.load(Ordering::Acquire);
        while head < self.tail.load(Ordering::Acquire) {
            let ticket = Ticket::unpack(self.entry(head).load(Ordering::Acquire));
            let claimed = self.word(ticket).is_some_and(|word| {
                word.change(Word::Queued(ticket.seq), Word::Claimed(owner, ticket.seq))
            });
            // Whoever saw that the entry no longer waits may pass it; another may have been faster.
            let passed =
                self.head
                    .compare_exchange(head, head + 1, Ordering::AcqRel, Ordering::Acquire);
            if claimed {
                return Some(ticket);
            }
            head = passed.map_or_else(|actual| actual, |head| head + 1);
        }
        None
    }

    /// Takes a request back that no thread has taken yet. Called by the front alone.
    pub(crate) fn withdraw(&self, ticket: Ticket) -> bool {
        self.words[ticket.slot as usize].change(Word::Queued(ticket.seq), Word::Free(ticket.seq))
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many entries wait, withdrawn ones among them.
    pub(crate) fn len(&self) -> u64 {
        let head = self.head.load(Ordering::Acquire);
        self.tail.load(Ordering::Acquire).saturating_sub(head)
    }

    /// At most how many requests wait. Withdrawn ones count until a taker passes them, or until there are as many
    /// entries as `limit`. Called by the front alone.
    pub(crate) fn waiting(&self, limit: u64) -> u64 {
        let tail = self.tail.load(Ordering::Relaxed);
        let waiting = tail.saturating_sub(self.head.load(Ordering::Acquire));
        if waiting < limit {
            return waiting;
        }
        let tail = self.compact(tail);
        tail.saturating_sub(self.head.load(Ordering::Acquire))
    }

    /// Withdrawn requests leave entries behind that only a taker passes; when they have filled the queue, those that
    /// still wait are put in anew. A thread that reads an old entry meanwhile can only claim what waits.
    fn compact(&self, tail: u64) -> u64 {
        let head = self.head.load(Ordering::Acquire);
        let waiting: Vec<Ticket> = (head..tail)
            .map(|position| Ticket::unpack(self.entry(position).load(Ordering::Acquire)))
            .filter(|ticket| {
                self.word(*ticket)
                    .is_some_and(|word| word.read() == Word::Queued(ticket.seq))
            })
            .collect();
        let mut new_tail = tail;
        for ticket in waiting {
            self.entry(new_tail).store(ticket.pack(), Ordering::Release);
            new_tail += 1;
        }
        // The head moves last: at no moment does the queue look empty to a thread that is about to sleep.
        self.tail.store(new_tail, Ordering::Release);
        let mut head = head;
        while head < tail {
            let moved = self
                .head
                .compare_exchange(head, tail, Ordering::AcqRel, Ordering::Acquire);
            head = moved.map_or_else(|actual| actual, |_| tail);
        }
        new_tail
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

    fn word(&self, ticket: Ticket) -> Option<&SlotWord> {
        self.words.get(ticket.slot as usize)
    }
}
