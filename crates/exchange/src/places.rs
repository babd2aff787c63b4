//! The types of which the mapping consists, and their sizes.
//!
//! All are atomics, or padding, so that all-zero bytes are their valid initial value.

use crate::concurrency_limit::ConcurrencyLimit;
use crate::parker::Parker;
use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// How many children, threads and requests the mapping has room for; fixed until the server ends.
#[derive(Clone, Copy, Debug)]
pub struct Geometry {
    /// Child slots, at most 4096.
    pub children: u16,
    /// Application threads of each child, 1 to 255.
    pub threads: u8,
    /// Requests that may wait for a thread at the same time.
    pub queue: u32,
}

impl Geometry {
    /// Application threads of all children.
    pub(crate) fn all_threads(self) -> usize {
        usize::from(self.children) * usize::from(self.threads)
    }

    /// Requests that can be in the exchange at the same time. A thread may already run its next request while the front
    /// still reads the answer to its last one.
    pub(crate) fn slots(self) -> usize {
        self.queue as usize + 2 * self.all_threads()
    }

    /// Entries of the queue: twice as many as slots, so that it can begin anew after its old entries.
    pub(crate) fn entries(self) -> usize {
        (2 * self.slots()).next_power_of_two()
    }

    /// 64-bit words that have a bit for each thread.
    pub(crate) fn dirty_words(self) -> usize {
        self.all_threads().div_ceil(64)
    }
}

/// Bytes of a request that its slot holds; most requests need no more.
pub(crate) const INLINE: usize = if cfg!(loom) { 128 } else { 4096 - 256 };
/// Bytes of one block, of which a larger request takes several.
pub(crate) const BLOCK: usize = if cfg!(loom) { 64 } else { 16 * 1024 };
/// Blocks that one request may take: room for the default head limits and a body in memory.
pub(crate) const BLOCKS_PER_SLOT: usize = if cfg!(loom) { 1 } else { 60 };
/// Bytes of the ring into which one thread writes its answers.
pub(crate) const RING: usize = if cfg!(loom) { 256 } else { 256 * 1024 };
/// Blocks in all: 16 MiB of larger requests at the same time. When they are in use, bodies go to files.
pub(crate) const BLOCKS: usize = if cfg!(loom) { 1 } else { 1024 };

/// The fields that the mapping has once.
#[derive(Debug)]
#[cfg_attr(loom, derive(Default))]
#[repr(C)]
pub(crate) struct Header {
    /// Head and tail of the queue, each on a cache line of its own.
    pub(crate) head: AtomicU64,
    _head_padding: [u64; 7],
    pub(crate) tail: AtomicU64,
    _tail_padding: [u64; 7],
    /// Whether the front is parked. It waits in its event loop and is woken by the doorbell's pipe.
    pub(crate) front: Parker,
}

/// A slot's fields beside its state and its bytes. Written by the front before the state becomes `Queued`.
#[derive(Debug)]
#[cfg_attr(loom, derive(Default))]
#[repr(C)]
pub(crate) struct SlotPlace {
    /// Bytes of the request, and how many of them come before the body.
    pub(crate) length: AtomicU32,
    pub(crate) head: AtomicU32,
    /// The request of this number has been given up: its answer is discarded.
    pub(crate) given_up: AtomicU32,
    /// The blocks that hold the bytes after the slot's own, in order.
    pub(crate) blocks: [AtomicU32; BLOCKS_PER_SLOT],
}

/// The states of a child slot, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChildState {
    /// No process: a child may be started here.
    Vacant,
    /// Ordered from the mold, or being forked, or loading.
    Starting,
    /// Its threads take requests.
    Ready,
    /// Takes no further request, and leaves when its last answer has been given.
    Draining,
    /// Reaped; the front has not yet cleared what it left behind.
    Gone,
}

/// A child's row of the scoreboard. Written by the supervisor, except for the limit and the governor.
#[derive(Debug)]
#[cfg_attr(loom, derive(Default))]
#[repr(C, align(64))]
pub struct ChildPlace {
    state: AtomicU32,
    incarnation: AtomicU32,
    pid: AtomicU32,
    generation: AtomicU32,
    /// How many of its threads run at the same time.
    pub(crate) limit: ConcurrencyLimit,
    /// What its governor is parked on.
    pub(crate) governor: Parker,
}

/// A thread's row of the scoreboard, and what it is parked on.
#[derive(Debug)]
#[cfg_attr(loom, derive(Default))]
#[repr(C, align(64))]
pub(crate) struct ThreadPlace {
    /// What the thread is parked on while there is no request for it.
    pub(crate) parker: Parker,
    /// What the thread is parked on while its ring is full.
    pub(crate) room: Parker,
    /// Bytes that the thread has written into its ring since the child was started.
    pub(crate) written: AtomicU64,
    /// Requests answered by this thread.
    pub(crate) served: AtomicU64,
    /// When it took the request that it runs, in nanoseconds of [`crate::sync::now`]; 0 when it runs none.
    pub(crate) since: AtomicU64,
    /// Nanoseconds that its last answered request took.
    pub(crate) lasted: AtomicU64,
    _padding: [AtomicU64; 3],
    /// Bytes of its ring that the front has read.
    pub(crate) read: AtomicU64,
}

impl ChildPlace {
    /// A new incarnation begins.
    pub fn begin(&self, incarnation: u8, generation: u32) {
        self.pid.store(0, Ordering::Relaxed);
        self.incarnation
            .store(u32::from(incarnation), Ordering::Relaxed);
        self.generation.store(generation, Ordering::Relaxed);
        self.limit.set(0);
        self.set_state(ChildState::Starting);
    }

    /// The state.
    #[must_use]
    pub fn state(&self) -> ChildState {
        match self.state.load(Ordering::Acquire) {
            1 => ChildState::Starting,
            2 => ChildState::Ready,
            3 => ChildState::Draining,
            4 => ChildState::Gone,
            _ => ChildState::Vacant,
        }
    }

    /// Changes the state.
    pub fn set_state(&self, state: ChildState) {
        let number = match state {
            ChildState::Vacant => 0,
            ChildState::Starting => 1,
            ChildState::Ready => 2,
            ChildState::Draining => 3,
            ChildState::Gone => 4,
        };
        self.state.store(number, Ordering::Release);
    }

    /// Counts the children that the slot has had, wrapping.
    #[must_use]
    pub fn incarnation(&self) -> u8 {
        // Only `begin` writes it, from a byte.
        self.incarnation.load(Ordering::Relaxed).to_le_bytes()[0]
    }

    /// The number of its process, 0 until it is known.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid.load(Ordering::Relaxed)
    }

    /// The child has been forked.
    pub fn set_pid(&self, pid: u32) {
        self.pid.store(pid, Ordering::Relaxed);
    }

    /// The generation of the mold that forked it.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.generation.load(Ordering::Relaxed)
    }
}
