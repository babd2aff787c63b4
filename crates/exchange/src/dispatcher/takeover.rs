//! How a front takes the exchange over from one that has died. The notes of that one are lost, so they are made anew from
//! the shared memory, as far as it is consistent.

use std::sync::Arc;

use super::{Dispatcher, Part, Refused, Sink, Slot, Wish, exists};

use crate::exchange::Exchange;
use crate::fd_channel::WantedBody;
use crate::ids::{ChildId, Owner, RequestId};
use crate::places::ChildState;
use crate::reply::Extent;
use crate::ring;
use crate::slot_state::SlotState;
use crate::store;
use crate::sync::Ordering;

impl Dispatcher {
    /// Notes the slots as the former front left them.
    pub(super) fn take_over_slots(&mut self) {
        let exchange = Arc::clone(&self.exchange);
        for (number, state) in (0..).zip(exchange.mapping.states()) {
            if let SlotState::Queued(seq) = state.read() {
                state.change(SlotState::Queued(seq), SlotState::Free(seq));
            }
            let slot = match state.read() {
                SlotState::Claimed(owner, seq) if is_alive(&exchange, owner) => {
                    self.held_slot(number, owner, seq)
                }
                SlotState::Claimed(_, seq) | SlotState::Free(seq) | SlotState::Queued(seq) => {
                    state.write(SlotState::Free(seq));
                    self.free_slots.push(number);
                    Slot {
                        seq,
                        ..Slot::default()
                    }
                }
            };
            self.slots.push(slot);
        }
        self.free_slots.reverse();
    }

    /// A slot whose request a thread still runs, although its client is gone.
    fn held_slot(&mut self, number: u32, owner: Owner, seq: u32) -> Slot {
        let mapping = &self.exchange.mapping;
        mapping.slots()[number as usize]
            .given_up
            .store(seq, Ordering::Release);
        // A child may have overwritten the numbers: those of blocks that do not exist or are not free are ignored.
        let named: Vec<u32> = store::blocks_of(mapping, number).collect();
        let blocks = self
            .free_blocks
            .extract_if(.., |block| named.contains(block));
        Slot {
            seq,
            is_live: true,
            owner: Some(owner),
            given_up: true,
            has_head: false,
            blocks: blocks.collect(),
        }
    }

    /// Finishes what the former front has left: clears the places of dead children, reads what others have written, and wakes
    /// the threads that it had marked as woken, or that wait for it to read.
    pub(super) fn take_over_rings(&mut self) {
        let exchange = Arc::clone(&self.exchange);
        for (slot, place) in (0..).zip(exchange.scoreboard().children()) {
            for thread in self.threads_of(slot) {
                self.read[thread] = exchange.mapping.threads()[thread]
                    .read
                    .load(Ordering::Acquire);
            }
            if place.state() == ChildState::Gone {
                let incarnation = place.incarnation();
                self.gone(ChildId { slot, incarnation }, &mut Discard);
            }
            for thread in self.threads_of(slot) {
                // A malformed frame is found again, and reported, when the ring is read next.
                let _ = self.read_ring(thread, &mut Discard, true);
                exchange.mapping.dirty()[thread / 64]
                    .fetch_or(1 << (thread % 64), Ordering::AcqRel);
                let place = &exchange.mapping.threads()[thread];
                if !ring::is_position(self.read[thread], place.written.load(Ordering::Acquire)) {
                    // The position up to which the ring was read is lost: it was in the former front's notes.
                    self.suspects.push(self.child_of(thread));
                }
            }
        }
        self.suspect_double_claims();
        self.suspects.sort_unstable_by_key(|child| child.slot);
        self.suspects.dedup();
        self.unpark_all();
    }

    /// A thread answers one request before it takes the next, and all answers have been read: a thread with more than one
    /// request left has false claims.
    fn suspect_double_claims(&mut self) {
        let mut held = vec![0_u32; self.read.len()];
        for slot in &self.slots {
            if let (true, Some(owner)) = (slot.is_live, slot.owner) {
                held[self.exchange.thread_index(owner.child.slot, owner.thread)] += 1;
            }
        }
        for (thread, count) in held.into_iter().enumerate() {
            if count > 1 {
                self.suspects.push(self.child_of(thread));
            }
        }
    }
}

/// Whether there is such a thread, and the child's slot is in this incarnation.
fn is_alive(exchange: &Exchange, owner: Owner) -> bool {
    exists(exchange, owner)
        && exchange.scoreboard().child(owner.child.slot).incarnation() == owner.child.incarnation
}

/// Discards the answers to the former front's requests: their connections have ended.
struct Discard;

impl Sink for Discard {
    fn wish(&mut self, _: RequestId) -> Wish {
        Wish::More
    }
    fn part(&mut self, _: RequestId, _: Part) {}
    fn lost(&mut self, _: RequestId) {}
    fn body_wanted(&mut self, _: WantedBody) {}
    fn file_given(&mut self, _: RequestId, _: Extent) {}
    fn births(&mut self) -> Vec<(ChildId, u32)> {
        Vec::new()
    }
    fn refused(&mut self, _: Refused) {}
}
