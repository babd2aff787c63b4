//! The front's side: it gives slots out, offers requests, reads the answers and takes back what a dead child held.

use std::collections::HashMap;
use std::sync::Arc;

use crate::bell::published;
use crate::board::ChildState;
use crate::exchange::Exchange;
use crate::ids::{ChildId, Ticket};
use crate::reply::After;
use crate::ring::{self, Frame};
use crate::store::{self, MAX_REQUEST};
use crate::sync::Ordering;
use crate::word::Word;

/// The one front's handle.
#[derive(Debug)]
pub struct Dispatcher {
    exchange: Arc<Exchange>,
    /// Slots and blocks that hold nothing; the ones used last are used next, so that little memory is touched.
    free_slots: Vec<u32>,
    free_blocks: Vec<u32>,
    /// The blocks of each slot that takes some. The copy in the shared memory is for the reader and not trusted.
    blocks: HashMap<u32, Vec<u32>>,
    /// Requests that have been offered since threads were last woken.
    unannounced: u32,
    /// Rings that wait for their answer's reader.
    stalled: Vec<usize>,
    /// Rings in which something stood that no thread writes; closed until their child is gone.
    corrupt: Vec<usize>,
}

/// The request cannot be taken now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// As many requests wait as may.
    Queue,
    /// The memory for large requests is in use. A request with its body in a file needs less.
    Memory,
    /// The request is larger than any that the exchange holds.
    TooLarge,
}

/// Whoever waits for the answers.
pub trait Sink {
    /// Whether the answer to this request can take another part.
    fn wish(&mut self, ticket: Ticket) -> Wish;
    /// The next part of an answer.
    fn part(&mut self, ticket: Ticket, part: Part);
    /// The child that had the request is gone: no further part will come.
    fn lost(&mut self, ticket: Ticket);
}

/// What a [`Sink`] says of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Give me the next part.
    More,
    /// I have enough for now; leave it with the thread.
    Later,
}

/// What becomes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Yes,
    /// Its request has been given up.
    No,
    /// It is the last of its request, whose slot a former front has freed.
    Freed,
}

/// A piece of an answer.
#[derive(Debug)]
pub struct Part {
    /// The encoded head, then data.
    pub bytes: Vec<u8>,
    /// How many of the bytes are the head's; none but in the first part of an answer.
    pub head: usize,
    /// How the answer goes on.
    pub after: After,
}

impl Dispatcher {
    /// Takes the exchange over, also from a front that has died: what nobody has claimed is dropped, since its
    /// connections died with that front, and what runs is left to end.
    #[must_use]
    pub fn open(exchange: Arc<Exchange>) -> Self {
        let mapping = &exchange.mapping;
        let (mut free_slots, mut blocks) = (Vec::new(), HashMap::new());
        // The last of a list is given out first.
        let mut free_blocks: Vec<u32> = (0..).take(mapping.block_count()).collect();
        free_blocks.reverse();
        for (slot, word) in (0..).zip(mapping.words()) {
            if let Word::Queued(seq) = word.read() {
                exchange.queue().withdraw(Ticket { slot, seq });
            }
            match word.read() {
                Word::Claimed(_, seq) => {
                    mapping.slots()[slot as usize]
                        .given_up
                        .store(seq, Ordering::Release);
                    // What a child may have scribbled over is no block, or one that is held already.
                    let (held, rest): (Vec<u32>, Vec<u32>) = {
                        let named: Vec<u32> = store::blocks_of(mapping, slot).collect();
                        free_blocks
                            .into_iter()
                            .partition(|block| named.contains(block))
                    };
                    free_blocks = rest;
                    blocks.insert(slot, held);
                }
                Word::Free(_) | Word::Queued(_) => free_slots.push(slot),
            }
        }
        free_slots.reverse();
        let mut new = Self {
            exchange,
            free_slots,
            free_blocks,
            blocks,
            unannounced: 0,
            stalled: Vec::new(),
            corrupt: Vec::new(),
        };
        new.take_over_rings();
        new
    }

    /// Offers a request, as [`crate::Request::encode`] wrote it, to all threads. They hear of it with the next
    /// [`Dispatcher::announce`].
    ///
    /// # Errors
    /// [`Full`] when there is no room.
    pub fn offer(&mut self, request: &[u8]) -> Result<Ticket, Full> {
        self.offer_pieces([request, &[]])
    }

    /// The same for a request in two pieces: all that is not the body, and the body.
    ///
    /// # Errors
    /// [`Full`] when there is no room.
    pub fn offer_pieces(&mut self, pieces: [&[u8]; 2]) -> Result<Ticket, Full> {
        let length = pieces[0].len() + pieces[1].len();
        if length > MAX_REQUEST {
            return Err(Full::TooLarge);
        }
        let queue = self.exchange.queue();
        let limit = u64::from(self.exchange.geometry().queue);
        if queue.waiting(limit) >= limit {
            return Err(Full::Queue);
        }
        let blocks = store::blocks_for(length);
        let left = self
            .free_blocks
            .len()
            .checked_sub(blocks)
            .ok_or(Full::Memory)?;
        let slot = self.free_slots.pop().ok_or(Full::Queue)?;
        let mapping = &self.exchange.mapping;
        let taken = self.free_blocks.split_off(left);
        store::write(mapping, slot, pieces, &taken);
        if !taken.is_empty() {
            self.blocks.insert(slot, taken);
        }
        let last = match mapping.words()[slot as usize].read() {
            Word::Free(last) | Word::Queued(last) | Word::Claimed(_, last) => last,
        };
        // Zero is what an untouched entry of the queue says.
        let seq = last.wrapping_add(1).max(1);
        let ticket = Ticket { slot, seq };
        queue.push(ticket);
        self.unannounced += 1;
        Ok(ticket)
    }

    /// Requests that have been offered and not yet announced.
    #[must_use]
    pub fn unannounced(&self) -> u32 {
        self.unannounced
    }

    /// Wakes a sleeping thread for each request that was offered since the last time.
    pub fn announce(&mut self) {
        if self.unannounced == 0 {
            return;
        }
        published();
        while self.unannounced > 0 && !self.exchange.queue().is_empty() {
            if !self.exchange.wake_a_thread() {
                if self.exchange.geometry().threads > 1 {
                    self.exchange.wake_governors();
                }
                break;
            }
            self.unannounced -= 1;
        }
        // Whoever is awake looks into the queue before it sleeps.
        self.unannounced = 0;
    }

    /// Takes a request back that no thread has taken. `true` when none has, and none will.
    pub fn withdraw(&mut self, ticket: Ticket) -> bool {
        let withdrawn = self.exchange.queue().withdraw(ticket);
        if withdrawn {
            self.free(ticket);
        }
        withdrawn
    }

    /// Gives a request up: its client has gone. `true` when no thread had taken it, and none will.
    pub fn give_up(&mut self, ticket: Ticket) -> bool {
        if self.withdraw(ticket) {
            return true;
        }
        self.exchange.mapping.slots()[ticket.slot as usize]
            .given_up
            .store(ticket.seq, Ordering::Release);
        false
    }

    /// Reads what the threads have answered. Gives the children back that wrote what no child writes.
    pub fn pump(&mut self, sink: &mut impl Sink) -> Vec<ChildId> {
        let mut corrupt = Vec::new();
        let mut rings = std::mem::take(&mut self.stalled);
        for (index, dirty) in self.exchange.mapping.dirty().iter().enumerate() {
            let mut bits = if dirty.load(Ordering::Relaxed) == 0 {
                0
            } else {
                dirty.swap(0, Ordering::AcqRel)
            };
            while bits != 0 {
                rings.push(index * 64 + bits.trailing_zeros() as usize);
                bits &= bits - 1;
            }
        }
        for thread in rings {
            if self.corrupt.contains(&thread) || self.stalled.contains(&thread) {
                continue;
            }
            match self.read_ring(thread, sink, false) {
                Ok(()) => {}
                Err(crate::Malformed) => {
                    self.corrupt.push(thread);
                    corrupt.push(self.child_of(thread));
                }
            }
        }
        corrupt
    }

    /// Whether answers wait in the exchange because their readers had enough.
    #[must_use]
    pub fn has_stalled(&self) -> bool {
        !self.stalled.is_empty()
    }

    /// Says that the front is about to sleep; `false` when a child has answered meanwhile, and it must not. A front
    /// that sleeps is woken through the [doorbell](Exchange::doorbell).
    #[must_use]
    pub fn lie_down(&self) -> bool {
        let mapping = &self.exchange.mapping;
        mapping.header().front.lie_down(|| {
            mapping
                .dirty()
                .iter()
                .any(|bits| bits.load(Ordering::Relaxed) != 0)
        })
    }

    /// Says that the front is awake.
    pub fn get_up(&self) {
        self.exchange.mapping.header().front.get_up();
    }

    /// Takes back what a reaped child held: what it had answered is delivered, the rest is lost. Afterwards its slot
    /// may have another life.
    pub fn gone(&mut self, child: ChildId, sink: &mut impl Sink) {
        if self.exchange.board().child(child.slot).life() != child.life {
            return;
        }
        for thread in self.threads_of(child.slot) {
            if !self.corrupt.contains(&thread) {
                // What stands behind a corrupt frame is lost with the child.
                let _ = self.read_ring(thread, sink, true);
            }
            self.reset_thread(thread);
        }
        for slot in 0..u32::try_from(self.exchange.mapping.words().len())
            .expect("tickets count slots in 32 bits")
        {
            let Word::Claimed(owner, seq) = self.exchange.mapping.words()[slot as usize].read()
            else {
                continue;
            };
            if owner.child == child {
                let ticket = Ticket { slot, seq };
                self.free(ticket);
                sink.lost(ticket);
            }
        }
        // A request may have been announced to the child that is now dead: announce what waits once more.
        self.unannounced = u32::try_from(self.waiting()).unwrap_or(u32::MAX);
        self.announce();
        // It may also have died between marking another thread as woken and waking it.
        self.rouse_all();
    }

    /// Requests that wait for a thread.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.exchange.queue().waiting(0)
    }

    /// Blocks that hold nothing.
    #[cfg(test)]
    pub(crate) fn free_blocks(&self) -> usize {
        self.free_blocks.len()
    }

    fn read_ring(
        &mut self,
        thread: usize,
        sink: &mut impl Sink,
        all: bool,
    ) -> Result<(), crate::Malformed> {
        let exchange = Arc::clone(&self.exchange);
        let (place, ring) = (
            &exchange.mapping.threads()[thread],
            exchange.mapping.ring(thread),
        );
        let start = place.read.load(Ordering::Relaxed);
        let mut read = start;
        let written = place.written.load(Ordering::Acquire);
        while let Some(frame) = ring::peek(ring, read, written)? {
            let wanted = self.check(thread, frame)?;
            let wait = wanted == Wanted::Yes && !all && sink.wish(frame.ticket) == Wish::Later;
            // Once the thread has gone on to its next request, nothing of this answer may hold that one up.
            if wait && !ends_within(ring, read, written, frame.ticket)? {
                self.stalled.push(thread);
                break;
            }
            let bytes = match wanted {
                Wanted::Yes => ring::payload(ring, read, frame),
                Wanted::No | Wanted::Freed => Vec::new(),
            };
            // Freed before the frame counts as read: a front that dies in between leaves a frame to its successor that
            // says so, and no slot that nobody frees.
            if frame.after != After::More && wanted != Wanted::Freed {
                self.free(frame.ticket);
            }
            read += Frame::size(frame.head + frame.data) as u64;
            place.read.store(read, Ordering::Release);
            if wanted == Wanted::Yes {
                sink.part(
                    frame.ticket,
                    Part {
                        bytes,
                        head: frame.head,
                        after: frame.after,
                    },
                );
            }
        }
        if read != start {
            published();
            place.room.ring();
        }
        Ok(())
    }

    /// Whether somebody wants this frame, after proof that this thread may write it.
    fn check(&self, thread: usize, frame: Frame) -> Result<Wanted, crate::Malformed> {
        let mapping = &self.exchange.mapping;
        let word = mapping
            .words()
            .get(frame.ticket.slot as usize)
            .ok_or(crate::Malformed)?;
        let (owner, seq) = match word.read() {
            Word::Claimed(owner, seq) => (owner, seq),
            Word::Free(seq) if seq == frame.ticket.seq && frame.after != After::More => {
                return Ok(Wanted::Freed);
            }
            Word::Free(_) | Word::Queued(_) => return Err(crate::Malformed),
        };
        let writer = self.exchange.thread_index(owner.child.slot, owner.thread);
        if seq != frame.ticket.seq || writer != thread {
            return Err(crate::Malformed);
        }
        let given_up = mapping.slots()[frame.ticket.slot as usize]
            .given_up
            .load(Ordering::Relaxed);
        Ok(if given_up == seq {
            Wanted::No
        } else {
            Wanted::Yes
        })
    }

    fn free(&mut self, ticket: Ticket) {
        let blocks = self.blocks.remove(&ticket.slot).unwrap_or_default();
        self.free_blocks.extend(blocks);
        self.exchange.mapping.words()[ticket.slot as usize].write(Word::Free(ticket.seq));
        self.free_slots.push(ticket.slot);
    }

    /// What a former front did not live to do: clear what dead children left, read what living ones have written, and
    /// wake those that it has marked as woken, or that wait for it to read.
    fn take_over_rings(&mut self) {
        let exchange = Arc::clone(&self.exchange);
        for (slot, place) in (0..).zip(exchange.board().children()) {
            if place.state() == ChildState::Gone {
                let life = place.life();
                self.gone(ChildId { slot, life }, &mut Nobody);
            }
            for thread in self.threads_of(slot) {
                // Nonsense is found again, and reported, when the ring is read next.
                let _ = self.read_ring(thread, &mut Nobody, true);
                exchange.mapping.dirty()[thread / 64]
                    .fetch_or(1 << (thread % 64), Ordering::AcqRel);
            }
        }
        self.rouse_all();
    }

    /// Wakes every thread. One that was marked as woken by a process which then died sleeps on otherwise.
    fn rouse_all(&self) {
        for place in self.exchange.mapping.threads() {
            place.bell.rouse();
            place.room.rouse();
        }
    }

    fn reset_thread(&mut self, thread: usize) {
        self.stalled.retain(|stalled| *stalled != thread);
        self.corrupt.retain(|corrupt| *corrupt != thread);
        let place = &self.exchange.mapping.threads()[thread];
        place.bell.get_up();
        place.room.get_up();
        place.since.store(0, Ordering::Relaxed);
        place.lasted.store(0, Ordering::Relaxed);
        place.written.store(0, Ordering::Relaxed);
        place.read.store(0, Ordering::Release);
    }

    fn threads_of(&self, child: u16) -> std::ops::Range<usize> {
        let first = self.exchange.thread_index(child, 0);
        first..first + usize::from(self.exchange.geometry().threads)
    }

    fn child_of(&self, thread: usize) -> ChildId {
        let slot = thread / usize::from(self.exchange.geometry().threads);
        let slot = u16::try_from(slot).expect("child slots are numbered in 12 bits");
        ChildId {
            slot,
            life: self.exchange.board().child(slot).life(),
        }
    }
}

/// Whether the last frame of this answer has been written.
fn ends_within(
    ring: crate::layout::Area<'_>,
    read: u64,
    written: u64,
    ticket: Ticket,
) -> Result<bool, crate::Malformed> {
    let mut at = read;
    while let Some(frame) = ring::peek(ring, at, written)? {
        if frame.ticket != ticket || frame.after != After::More {
            return Ok(true);
        }
        at += Frame::size(frame.head + frame.data) as u64;
    }
    Ok(false)
}

/// The sink of a new front: nobody waits for the answers of the old one.
struct Nobody;

impl Sink for Nobody {
    fn wish(&mut self, _: Ticket) -> Wish {
        Wish::More
    }
    fn part(&mut self, _: Ticket, _: Part) {}
    fn lost(&mut self, _: Ticket) {}
}
