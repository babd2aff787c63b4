//! How many of a child's threads run the application at the same time.
//!
//! Threads of one interpreter that compute take turns, and each change costs time. So each child has a limit, which its
//! [`crate::Governor`] raises and lowers. A thread may take a request while fewer threads with a lower number than its own
//! are unparked than the limit allows, so the first thread always may. A thread that may not is parked like one without
//! work. The only state is the parkers and the limit, so a process that is killed leaves nothing to repair.

use crate::parker::Parker;
use crate::sync::{AtomicU32, Ordering};

/// The limit of one child.
#[derive(Debug)]
#[cfg_attr(loom, derive(Default))]
#[repr(transparent)]
pub(crate) struct ConcurrencyLimit(AtomicU32);

impl ConcurrencyLimit {
    /// So many threads may run; 0 means all.
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

    /// Counts a child's threads that are not parked, and finds the first parked one that may take a request.
    pub(crate) fn census<'b>(&self, parkers: impl Iterator<Item = &'b Parker>) -> Census {
        let limit = self.limit();
        let mut census = Census::default();
        for (thread, parker) in parkers.enumerate() {
            if !parker.is_parked() {
                census.unparked += 1;
                continue;
            }
            census.has_parked = true;
            if census.next.is_none() && census.unparked < limit {
                census.next = Some(thread);
            }
        }
        census
    }
}

/// How many threads of a child are parked, and which one to wake next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Census {
    pub(crate) unparked: u32,
    /// At least one is parked.
    pub(crate) has_parked: bool,
    /// The first that is parked and may take a request.
    pub(crate) next: Option<usize>,
}
