//! The scoreboard: what every child and every thread is doing, readable by whoever has the mapping, also after its death.

use std::time::Duration;

use crate::bell::Bell;
use crate::gate::Gate;
use crate::ids::{ChildId, Ticket};
use crate::layout::Mapping;
use crate::sync::{AtomicU32, AtomicU64, Ordering};

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
#[repr(C, align(64))]
pub struct ChildPlace {
    state: AtomicU32,
    life: AtomicU32,
    pid: AtomicU32,
    generation: AtomicU32,
    /// How many of its threads run at the same time.
    pub(crate) gate: Gate,
    /// What its governor sleeps on.
    pub(crate) governor: Bell,
}

/// A thread as everybody sees it, and what it sleeps on.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct ThreadPlace {
    /// What the thread sleeps on while no request waits.
    pub(crate) bell: Bell,
    /// What the thread sleeps on while its ring is full.
    pub(crate) room: Bell,
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

/// The scoreboard as a view of the mapping.
#[derive(Clone, Copy, Debug)]
pub struct Board<'a> {
    mapping: &'a Mapping,
    threads: usize,
}

impl<'a> Board<'a> {
    pub(crate) fn new(mapping: &'a Mapping, threads: u8) -> Self {
        Self {
            mapping,
            threads: usize::from(threads),
        }
    }

    /// The child slots in order.
    #[must_use]
    pub fn children(&self) -> &'a [ChildPlace] {
        self.mapping.children()
    }

    /// The place of the child in `slot`.
    ///
    /// # Panics
    /// When there is no such slot.
    #[must_use]
    pub fn child(&self, slot: u16) -> &'a ChildPlace {
        &self.mapping.children()[usize::from(slot)]
    }

    /// Requests that the child in `slot` has answered.
    #[must_use]
    pub fn served(&self, slot: u16) -> u64 {
        let first = usize::from(slot) * self.threads;
        let threads = &self.mapping.threads()[first..first + self.threads];
        threads
            .iter()
            .map(|thread| thread.served.load(Ordering::Relaxed))
            .fold(0, u64::wrapping_add)
    }
}

impl ChildPlace {
    /// A life begins.
    pub fn begin(&self, life: u8, generation: u32) {
        self.pid.store(0, Ordering::Relaxed);
        self.life.store(u32::from(life), Ordering::Relaxed);
        self.generation.store(generation, Ordering::Relaxed);
        self.gate.set(0);
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
    pub fn life(&self) -> u8 {
        // Only `begin` writes it, from a byte.
        self.life.load(Ordering::Relaxed).to_le_bytes()[0]
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

/// A request that a thread has taken and not yet answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InFlight {
    /// The child that has it.
    pub child: ChildId,
    /// The thread of that child.
    pub thread: u8,
    /// The request.
    pub ticket: Ticket,
    /// Its method.
    pub method: String,
    /// Its path, percent-encoded, without the query: that may hold secrets.
    pub path: String,
    /// How long the thread has had it.
    pub running: Duration,
}
