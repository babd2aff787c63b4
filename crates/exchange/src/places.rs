//! What lies in the mapping, and how large it is.
//!
//! All of it is atomic, or padding, so that all-zero bytes are its valid first state.

use crate::concurrency_limit::ConcurrencyLimit;
use crate::parker::Parker;
use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// How much of everything the mapping holds; fixed for the life of the server.
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
    /// still sends the last one.
    pub(crate) fn slots(self) -> usize {
        self.queue as usize + 2 * self.all_threads()
    }

    /// Entries of the queue: all that waits fits in twice.
    pub(crate) fn entries(self) -> usize {
        (2 * self.slots()).next_power_of_two()
    }

    /// Words that have a bit for each thread.
    pub(crate) fn dirty_words(self) -> usize {
        self.all_threads().div_ceil(64)
    }
}

/// Bytes of a request that lie in its slot; most requests need no more.
pub(crate) const INLINE: usize = if cfg!(loom) { 128 } else { 4096 - 256 };
/// Bytes of one block, of which a larger request takes several.
pub(crate) const BLOCK: usize = if cfg!(loom) { 64 } else { 16 * 1024 };
/// Blocks that one request may take: room for the default head limits and a body in memory.
pub(crate) const BLOCKS_A_SLOT: usize = if cfg!(loom) { 1 } else { 60 };
/// Bytes of the ring into which one thread writes its answers.
pub(crate) const RING: usize = if cfg!(loom) { 256 } else { 256 * 1024 };
/// Blocks in all, for this many bytes of larger requests at the same time; above that, bodies go to files.
pub(crate) const BLOCKS: usize = if cfg!(loom) { 1 } else { 1024 };

/// What there is once.
#[derive(Debug)]
#[cfg_attr(loom, derive(Default))]
#[repr(C)]
pub(crate) struct Header {
    pub(crate) head: AtomicU64,
    _own_line: [u64; 7],
    pub(crate) tail: AtomicU64,
    _own_line_too: [u64; 7],
    /// What the front sleeps on (the pipe of the exchange does the waking).
    pub(crate) front: Parker,
}

/// What stands in a slot beside its word and its bytes. Written by the front before the word says "queued".
#[derive(Debug)]
#[cfg_attr(loom, derive(Default))]
#[repr(C)]
pub(crate) struct SlotPlace {
    /// Bytes of the request, and how many of them are not the body's.
    pub(crate) length: AtomicU32,
    pub(crate) head: AtomicU32,
    /// The request of this number has been given up: its answer is for nobody.
    pub(crate) given_up: AtomicU32,
    /// The blocks that hold what the slot does not, in order.
    pub(crate) blocks: [AtomicU32; BLOCKS_A_SLOT],
}

/// How far a child's life has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChildState {
    /// Nobody: a child may be born here.
    Vacant,
    /// Ordered, or being born, or loading.
    Starting,
    /// Its threads take requests.
    Ready,
    /// Takes no further request, and leaves when its last answer has been given.
    Draining,
    /// Reaped; the front has not yet cleared what it left behind.
    Gone,
}

/// A child as everybody sees it. Written by the supervisor.
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
    /// What its governor sleeps on.
    pub(crate) governor: Parker,
}

/// A thread as everybody sees it, and what it sleeps on.
#[derive(Debug)]
#[cfg_attr(loom, derive(Default))]
#[repr(C, align(64))]
pub(crate) struct ThreadPlace {
    /// What the thread sleeps on while no request waits.
    pub(crate) parker: Parker,
    /// What the thread sleeps on while its ring is full.
    pub(crate) room: Parker,
    /// Bytes that the thread has written into its ring since the child was born.
    pub(crate) written: AtomicU64,
    /// Requests answered by this thread.
    pub(crate) served: AtomicU64,
    /// When it took the request that it runs, as [`crate::sync::now`] has it; 0 when it runs none.
    pub(crate) since: AtomicU64,
    /// Nanoseconds that the last request took which it has answered.
    pub(crate) lasted: AtomicU64,
    _own_line: [AtomicU64; 3],
    /// Bytes of its ring that the front has read.
    pub(crate) read: AtomicU64,
}

impl ChildPlace {
    /// A life begins.
    pub fn begin(&self, incarnation: u8, generation: u32) {
        self.pid.store(0, Ordering::Relaxed);
        self.incarnation
            .store(u32::from(incarnation), Ordering::Relaxed);
        self.generation.store(generation, Ordering::Relaxed);
        self.limit.set(0);
        self.set_state(ChildState::Starting);
    }

    /// How far the child is.
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

    /// How far the child is from now on.
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

    /// Which of the slot's lives this is.
    #[must_use]
    pub fn incarnation(&self) -> u8 {
        // Only `begin` writes it, from a byte.
        self.incarnation.load(Ordering::Relaxed).to_le_bytes()[0]
    }

    /// The process, 0 until it has been born.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid.load(Ordering::Relaxed)
    }

    /// The child has been born.
    pub fn set_pid(&self, pid: u32) {
        self.pid.store(pid, Ordering::Relaxed);
    }

    /// The generation whose mold bore it.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.generation.load(Ordering::Relaxed)
    }
}
