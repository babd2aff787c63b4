//! How many of a child's threads run the application at the same time.
//!
//! Threads of one interpreter that compute only take turns, and each turn costs. So a child has a limit, which whoever
//! watches over it raises and lowers ([`crate::Governor`]), and a thread takes requests only while fewer threads before it
//! than the limit are awake. The order settles who steps back when there are too many: never the first one. A thread that
//! steps back lies down like one without work, so that all there is to know are the bells and the limit: whoever is killed
//! at whatever moment leaves nothing that would have to be put right.

use crate::bell::Bell;
use crate::sync::{AtomicU32, Ordering};

/// The limit of one child.
#[derive(Debug)]
#[cfg_attr(loom, derive(Default))]
#[repr(transparent)]
pub(crate) struct Gate(AtomicU32);

impl Gate {
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

    /// Whether the thread with this number may take a request, given the bells of its child's threads.
    pub(crate) fn lets_in<'b>(&self, thread: usize, bells: impl Iterator<Item = &'b Bell>) -> bool {
        let limit = self.limit() as usize;
        thread < limit || bells.take(thread).filter(|bell| !bell.sleeps()).count() < limit
    }

    /// Looks over a child's threads: how many are awake, and the first one that sleeps and may take a request.
    pub(crate) fn survey<'b>(&self, bells: impl Iterator<Item = &'b Bell>) -> Survey {
        let limit = self.limit();
        let mut survey = Survey::default();
        for (thread, bell) in bells.enumerate() {
            if !bell.sleeps() {
                survey.awake += 1;
                continue;
            }
            survey.sleeps = true;
            if survey.next.is_none() && survey.awake < limit {
                survey.next = Some(thread);
            }
        }
        survey
    }
}

/// What the threads of a child are about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Survey {
    pub(crate) awake: u32,
    /// At least one sleeps.
    pub(crate) sleeps: bool,
    /// The first that sleeps and may take a request.
    pub(crate) next: Option<usize>,
}
