//! The scoreboard: what every child and every thread is doing. Every process that has the mapping can read it, also after
//! the child has died.

use std::time::Duration;

use crate::ids::{ChildId, RequestId};
use crate::layout::Mapping;
use crate::places::ChildPlace;
use crate::sync::Ordering;

/// The scoreboard as a view of the mapping.
#[derive(Clone, Copy, Debug)]
pub struct Scoreboard<'a> {
    mapping: &'a Mapping,
    threads: usize,
}

impl<'a> Scoreboard<'a> {
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

/// A request that a thread has taken and not yet answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InFlight {
    /// The child that has it.
    pub child: ChildId,
    /// The thread of that child.
    pub thread: u8,
    /// The request.
    pub request_id: RequestId,
    /// Its method.
    pub method: String,
    /// Its path, percent-encoded, without the query: that may hold secrets.
    pub path: String,
    /// How long the thread has had it.
    pub running: Duration,
}
