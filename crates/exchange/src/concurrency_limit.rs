//! How many of a child's threads run the application at the same time.
//!
//! Threads of one interpreter that compute only take turns, and each turn costs. So a child has a limit, which whoever
//! watches over it raises and lowers ([`crate::Governor`]), and a thread takes requests only while fewer threads before it
//! than the limit are awake. The order settles who steps back when there are too many: never the first one. A thread that
//! steps back parks like one without work, so that all there is to know are the parkers and the limit: whoever is killed
//! at whatever moment leaves nothing that would have to be put right.

use crate::parker::Parker;
use crate::sync::{AtomicU32, Ordering};

/// The limit of one child.
#[derive(Debug)]
#[cfg_attr(loom, derive(Default))]
#[repr(transparent)]
pub(crate) struct ConcurrencyLimit(AtomicU32);

impl ConcurrencyLimit {
    /// So many threads may run; 0 stands for all.
    pub(crate) fn set(&self, limit: u32) {
        self.0.store(limit, Ordering::Release);
    }

    pub(crate) fn limit(&self) -> u32 {
        match self.0.load(Ordering::Acquire) {
            0 => u32::MAX,
            limit => limit,
        }
    }

    /// Whether the thread with this number may take a request, given the parkers of its child's threads.
    pub(crate) fn admits<'b>(
        &self,
        thread: usize,
        parkers: impl Iterator<Item = &'b Parker>,
    ) -> bool {
        let limit = self.limit() as usize;
        thread < limit
            || parkers
                .take(thread)
                .filter(|parker| !parker.is_parked())
                .count()
                < limit
    }

    /// Looks over a child's threads: how many are awake, and the first one that sleeps and may take a request.
    pub(crate) fn census<'b>(&self, parkers: impl Iterator<Item = &'b Parker>) -> Census {
        let limit = self.limit();
        let mut census = Census::default();
        for (thread, parker) in parkers.enumerate() {
            if !parker.is_parked() {
                census.awake += 1;
                continue;
            }
            census.sleeps = true;
            if census.next.is_none() && census.awake < limit {
                census.next = Some(thread);
            }
        }
        census
    }
}

/// What the threads of a child are about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Census {
    pub(crate) awake: u32,
    /// At least one sleeps.
    pub(crate) sleeps: bool,
    /// The first that sleeps and may take a request.
    pub(crate) next: Option<usize>,
}
