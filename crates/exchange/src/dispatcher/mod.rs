//! The front's side: it fills slots, offers requests, reads the answers and frees what a dead child held.
//!
//! It keeps notes in its own memory: which slots hold which request, which thread has taken it, what waits in which order,
//! how far each ring has been read. What it reads in the shared memory (a claim, a frame) it checks against them. `rings`
//! reads the threads' rings, `descriptors` the channel of descriptors, and `takeover` is how a front follows one that has
//! died.

mod descriptors;
mod rings;
mod takeover;

use std::collections::VecDeque;
use std::sync::Arc;

use crate::exchange::Exchange;
use crate::fd_channel::WantedBody;
use crate::ids::{ChildId, Owner, RequestId};
use crate::parker::store_load_fence;
use crate::reply::{After, Extent};
use crate::slot_state::SlotState;
use crate::store::{self, MAX_REQUEST};
use crate::sync::Ordering;

pub use descriptors::Refused;

/// The one front's handle.
#[derive(Debug)]
pub struct Dispatcher {
    exchange: Arc<Exchange>,
    slots: Vec<Slot>,
    /// Free slots and blocks; the ones used last are used next, so that little memory is touched.
    free_slots: Vec<u32>,
    free_blocks: Vec<u32>,
    /// What was put into the queue, with its position, and is not known to have been taken; the oldest first.
    waiting: VecDeque<(u64, RequestId)>,
    /// The queue's position after the newest entry.
    tail: u64,
    /// How often the queue had to be repaired since another process had overwritten it.
    queue_repairs: u64,
    /// How far each thread's ring has been read.
    read: Vec<u64>,
    /// How often in a row a thread has written a position that no frames explain.
    unexplained: Vec<u8>,
    /// The rings are being taken over from a former front.
    takes_over: bool,
    /// Requests that have been offered since threads were last woken.
    unannounced: u32,
    /// Rings that are left unread, since the reader of an answer in them has enough for now.
    stalled: Vec<usize>,
    /// Rings with a malformed frame; not read until their child is gone.
    corrupt: Vec<usize>,
    /// Children that the next [`Dispatcher::pump`] is to return as corrupt.
    suspects: Vec<ChildId>,
    /// Which incarnation of each child slot was last cleared.
    cleared: Vec<Option<u8>>,
    /// Which child is in each slot, and the number of its process.
    born: Vec<Option<(ChildId, u32)>>,
}

/// The front's notes of a slot.
#[derive(Debug, Default)]
struct Slot {
    /// The number of the request that it holds, or held last.
    seq: u32,
    /// Holds a request that is to be answered.
    is_live: bool,
    /// The thread that has taken the request, once that was seen: later changes of the slot's state are ignored.
    owner: Option<Owner>,
    /// The answer is discarded.
    given_up: bool,
    /// The head of its answer has been read: a second one is an error.
    has_head: bool,
    /// The blocks that it takes. The threads read the copy in the shared memory.
    blocks: Vec<u32>,
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

/// Receives the answers.
pub trait Sink {
    /// Whether the answer to this request can take another part.
    fn wish(&mut self, request_id: RequestId) -> Wish;
    /// The next part of an answer.
    fn part(&mut self, request_id: RequestId, part: Part);
    /// The child that had the request is gone: no further part will come.
    fn lost(&mut self, request_id: RequestId);
    /// The thread that has the request waits for the file of its body.
    fn body_wanted(&mut self, wanted: WantedBody);
    /// The thread that has the request has sent the file with the rest of its answer.
    fn file_given(&mut self, request_id: RequestId, extent: Extent);
    /// Children of which [`crate::notice::ToFront::Born`] has come and was not passed on yet, with their processes.
    fn births(&mut self) -> Vec<(ChildId, u32)>;
    /// A process that does not have the request has sent such a message.
    fn refused(&mut self, refused: Refused);
}

/// Whether a [`Sink`] can take the next part of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// It takes the next part.
    More,
    /// It has enough for now: the part is left in the ring, unless the whole answer is there, after which the thread's next
    /// answer must not wait.
    Later,
    /// It has no room: the part is left in the ring in any case.
    Nothing,
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
    /// Takes the exchange over, also from a front that has died: waiting requests are dropped, since their connections ended
    /// with that front, and running ones are left to end. The queue begins anew.
    #[must_use]
    pub fn open(exchange: Arc<Exchange>) -> Self {
        let mapping = &exchange.mapping;
        let (slots, threads) = (mapping.states().len(), mapping.threads().len());
        // The last of a list is given out first.
        let mut free_blocks: Vec<u32> = (0..).take(mapping.block_count()).collect();
        free_blocks.reverse();
        let mut new = Self {
            slots: Vec::with_capacity(slots),
            free_slots: Vec::new(),
            free_blocks,
            waiting: VecDeque::new(),
            tail: 0,
            queue_repairs: 0,
            read: vec![0; threads],
            unexplained: vec![0; threads],
            takes_over: true,
            unannounced: 0,
            stalled: Vec::new(),
            corrupt: Vec::new(),
            suspects: Vec::new(),
            cleared: vec![None; mapping.children().len()],
            born: vec![None; mapping.children().len()],
            exchange,
        };
        new.take_over_slots();
        // The positions continue where the former front's ended, as others count by them how many requests were offered.
        let start = new.exchange.mapping.header().tail.load(Ordering::Relaxed);
        new.tail = new.exchange.queue().renew(start, std::iter::empty());
        new.take_over_rings();
        new.takes_over = false;
        new
    }

    /// Offers a request, as [`crate::Request::encode`] wrote it, to all threads. Parked ones are woken by the next
    /// [`Dispatcher::announce`].
    ///
    /// # Errors
    /// [`Full`] when there is no room.
    pub fn offer(&mut self, request: &[u8]) -> Result<RequestId, Full> {
        self.offer_pieces([request, &[]])
    }

    /// The same for a request in two pieces: all that is not the body, and the body.
    ///
    /// # Errors
    /// [`Full`] when there is no room.
    pub fn offer_pieces(&mut self, pieces: [&[u8]; 2]) -> Result<RequestId, Full> {
        let length = pieces[0].len() + pieces[1].len();
        if length > MAX_REQUEST {
            return Err(Full::TooLarge);
        }
        if self.waiting.len() >= self.exchange.geometry().queue as usize {
            return Err(Full::Queue);
        }
        let blocks = store::blocks_for(length);
        let left = self
            .free_blocks
            .len()
            .checked_sub(blocks)
            .ok_or(Full::Memory)?;
        let number = self.free_slots.pop().ok_or(Full::Queue)?;
        let taken = self.free_blocks.split_off(left);
        store::write(&self.exchange.mapping, number, pieces, &taken);
        let slot = &mut self.slots[number as usize];
        *slot = Slot {
            // 0 is the number in an entry of the queue that was never written.
            seq: slot.seq.wrapping_add(1).max(1),
            is_live: true,
            owner: None,
            given_up: false,
            has_head: false,
            blocks: taken,
        };
        let request_id = RequestId {
            slot: number,
            seq: slot.seq,
        };
        if !self.exchange.queue().has_room(self.tail) {
            self.renew_queue();
        }
        self.exchange.queue().push(self.tail, request_id);
        self.waiting.push_back((self.tail, request_id));
        self.tail = self.tail.wrapping_add(1);
        self.unannounced += 1;
        Ok(request_id)
    }

    /// Requests that have been offered and not yet announced.
    #[must_use]
    pub fn unannounced(&self) -> u32 {
        self.unannounced
    }

    /// Wakes a parked thread for each request that was offered since the last call.
    pub fn announce(&mut self) {
        if self.unannounced == 0 {
            return;
        }
        store_load_fence();
        while self.unannounced > 0 && !self.exchange.queue().is_empty() {
            if !self.exchange.wake_a_thread() {
                if self.exchange.geometry().threads > 1 {
                    self.exchange.wake_governors();
                }
                break;
            }
            self.unannounced -= 1;
        }
        // When no thread is left to wake, the unparked ones find the rest: each looks into the queue before it parks.
        self.unannounced = 0;
    }

    /// Withdraws a request that no thread has taken. `true` when none has, and none will.
    pub fn withdraw(&mut self, request_id: RequestId) -> bool {
        let withdrawn = self.holds(request_id)
            && self.slots[request_id.slot as usize].owner.is_none()
            && self.exchange.queue().withdraw(request_id);
        if withdrawn {
            self.waiting.retain(|(_, waiting)| *waiting != request_id);
            self.free(request_id);
        }
        withdrawn
    }

    /// Gives a request up: its client has gone. `true` when no thread had taken it, and none will.
    pub fn give_up(&mut self, request_id: RequestId) -> bool {
        if self.withdraw(request_id) {
            return true;
        }
        if self.holds(request_id) {
            self.slots[request_id.slot as usize].given_up = true;
        }
        // The thread that writes the answer reads this.
        self.exchange.mapping.slots()[request_id.slot as usize]
            .given_up
            .store(request_id.seq, Ordering::Release);
        false
    }

    /// Reads the answers. Returns the children that wrote malformed data.
    pub fn pump(&mut self, sink: &mut impl Sink) -> Vec<ChildId> {
        self.note_claims(sink);
        self.repair_queue();
        let mut corrupt = std::mem::take(&mut self.suspects);
        let mut rings = std::mem::take(&mut self.stalled);
        for (index, dirty) in self.exchange.mapping.dirty().iter().enumerate() {
            let mut bits = if dirty.load(Ordering::Relaxed) == 0 {
                0
            } else {
                dirty.swap(0, Ordering::AcqRel)
            };
            while bits != 0 {
                let thread = index * 64 + bits.trailing_zeros() as usize;
                if thread < self.read.len() {
                    rings.push(thread);
                }
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

    /// Whether requests wait or run.
    #[must_use]
    pub fn has_requests(&self) -> bool {
        self.free_slots.len() < self.slots.len()
    }

    /// Has the next [`Dispatcher::pump`] read every ring, and wakes every thread while requests wait.
    ///
    /// Our own code loses no wake-up and no dirty bit; but an application that writes into the exchange can overwrite them, and
    /// then a request would wait until something else happens. To be called at intervals while there are requests.
    pub fn recheck(&mut self) {
        self.stalled = (0..self.read.len()).collect();
        if !self.waiting.is_empty() {
            self.unpark_all();
        }
    }

    /// Whether answers are left in the exchange because their readers had enough.
    #[must_use]
    pub fn has_stalled(&self) -> bool {
        !self.stalled.is_empty()
    }

    /// Announces that the front is about to wait; `false` when a child has answered meanwhile, and it must not. A parked front
    /// is woken by the [doorbell](Exchange::doorbell).
    #[must_use]
    pub fn prepare_park(&self) -> bool {
        let mapping = &self.exchange.mapping;
        mapping.header().front.prepare_park(|| {
            mapping
                .dirty()
                .iter()
                .any(|bits| bits.load(Ordering::Relaxed) != 0)
        })
    }

    /// Stores that the front is not parked.
    pub fn cancel_park(&self) {
        self.exchange.mapping.header().front.cancel_park();
    }

    /// Frees what a reaped child held: what it had answered is delivered, the rest is lost. Afterwards its slot may have the
    /// next incarnation.
    pub fn gone(&mut self, child: ChildId, sink: &mut impl Sink) {
        // The supervisor reports each death once, and starts no child in the slot before it has been cleared.
        let Some(cleared) = self.cleared.get_mut(usize::from(child.slot)) else {
            return;
        };
        if cleared.replace(child.incarnation) == Some(child.incarnation) {
            return;
        }
        self.note_claims(sink);
        for thread in self.threads_of(child.slot) {
            if !self.corrupt.contains(&thread) {
                // What follows a malformed frame is lost with the child.
                let _ = self.read_ring(thread, sink, true);
            }
            self.reset_thread(thread);
        }
        for number in (0..).take(self.slots.len()) {
            let slot = &self.slots[number as usize];
            let (is_live, seq) = (slot.is_live, slot.seq);
            let request_id = RequestId { slot: number, seq };
            if is_live
                && self
                    .owner(request_id)
                    .is_some_and(|owner| owner.child.slot == child.slot)
            {
                self.free(request_id);
                sink.lost(request_id);
            }
        }
        self.forget_process(child);
        // The dead child may have been woken for a request that it did not take: wake a thread for each waiting one again.
        self.unannounced = u32::try_from(self.waiting.len()).unwrap_or(u32::MAX);
        self.announce();
        // It may also have died between marking another thread as woken and waking it.
        self.unpark_all();
    }

    /// How many requests wait for a thread, as known since the last [`Dispatcher::pump`].
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// How often the queue had to be repaired since another process had overwritten it.
    #[must_use]
    pub fn queue_repairs(&self) -> u64 {
        self.queue_repairs
    }

    /// Free blocks.
    #[cfg(test)]
    pub(crate) fn free_blocks(&self) -> usize {
        self.free_blocks.len()
    }

    /// Free slots.
    #[cfg(test)]
    pub(crate) fn free_slots(&self) -> usize {
        self.free_slots.len()
    }

    /// Whether the slot holds this request.
    fn holds(&self, request_id: RequestId) -> bool {
        let slot = self.slots.get(request_id.slot as usize);
        slot.is_some_and(|slot| slot.is_live && slot.seq == request_id.seq)
    }

    /// The thread that has taken this request. Noted when it is first seen.
    fn owner(&mut self, request_id: RequestId) -> Option<Owner> {
        let slot = &mut self.slots[request_id.slot as usize];
        if slot.owner.is_none()
            && let SlotState::Claimed(owner, seq) =
                self.exchange.mapping.states()[request_id.slot as usize].read()
            && seq == request_id.seq
            && exists(&self.exchange, owner)
        {
            slot.owner = Some(owner);
        }
        slot.owner
    }

    /// Notes which threads have taken the requests that waited. A request that is neither taken nor waiting was overwritten,
    /// and is lost.
    fn note_claims(&mut self, sink: &mut impl Sink) {
        while let Some((_, request_id)) = self.waiting.front().copied() {
            if self.holds(request_id) && self.owner(request_id).is_none() {
                // Checked in this order, since it may be taken in between.
                if self.exchange.queue().waits(request_id) {
                    break;
                }
                if self.owner(request_id).is_none() {
                    self.free(request_id);
                    sink.lost(request_id);
                }
            }
            self.waiting.pop_front();
        }
    }

    /// Repairs the queue where another process has overwritten it.
    fn repair_queue(&mut self) {
        let oldest = self.waiting.front().copied();
        if !self.exchange.queue().agrees(self.tail, oldest) {
            self.queue_repairs += 1;
            self.renew_queue();
        }
    }

    /// Begins the queue anew with the waiting requests, for which the next `announce` wakes threads again.
    pub(crate) fn renew_queue(&mut self) {
        let queue = self.exchange.queue();
        self.tail = queue.renew(self.tail, self.waiting.iter_mut());
        self.unannounced = u32::try_from(self.waiting.len()).unwrap_or(u32::MAX);
    }

    fn free(&mut self, request_id: RequestId) {
        let slot = &mut self.slots[request_id.slot as usize];
        slot.is_live = false;
        self.free_blocks.append(&mut slot.blocks);
        self.exchange.mapping.states()[request_id.slot as usize]
            .write(SlotState::Free(request_id.seq));
        self.free_slots.push(request_id.slot);
    }

    /// Wakes every thread, also one that was marked as woken by a process which died before it woke it.
    fn unpark_all(&self) {
        for place in self.exchange.mapping.threads() {
            place.parker.unpark_always();
            place.room.unpark_always();
        }
    }

    fn reset_thread(&mut self, thread: usize) {
        self.stalled.retain(|stalled| *stalled != thread);
        self.corrupt.retain(|corrupt| *corrupt != thread);
        let place = &self.exchange.mapping.threads()[thread];
        place.parker.cancel_park();
        place.room.cancel_park();
        place.since.store(0, Ordering::Relaxed);
        place.lasted.store(0, Ordering::Relaxed);
        self.read[thread] = 0;
        self.unexplained[thread] = 0;
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
            incarnation: self.exchange.scoreboard().child(slot).incarnation(),
        }
    }
}

/// Whether there is such a thread.
fn exists(exchange: &Exchange, owner: Owner) -> bool {
    let geometry = exchange.geometry();
    owner.child.slot < geometry.children && owner.thread < geometry.threads
}
