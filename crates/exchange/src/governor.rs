//! The governor of one child: a thread that sets the limit. It is parked while at most one thread is unparked and none is
//! held back.

use std::sync::Arc;
use std::time::Duration;

use crate::exchange::Exchange;
use crate::ids::ChildId;
use crate::parker::store_load_fence;
use crate::sync::{AtomicBool, Ordering};

/// One child's governor.
#[derive(Debug)]
pub struct Governor {
    exchange: Arc<Exchange>,
    child: ChildId,
}

/// What a child's threads are doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Activity {
    /// Threads that are not parked: they run a request, or look for one.
    pub unparked: u32,
    /// Requests wait, and threads of this child are parked only because of its limit.
    pub held_back: bool,
    /// The running requests: the thread, and the nanoseconds at which it took the request, which tell one from the next.
    pub running: Vec<(usize, u64)>,
    /// How long the last request of each thread took; without those that have had none.
    pub lasted: Vec<Duration>,
}

impl Governor {
    /// The governor of this process's child.
    #[must_use]
    pub fn new(exchange: Arc<Exchange>, child: ChildId) -> Self {
        Self { exchange, child }
    }

    /// Parks until the limit matters: until more than one thread is unparked, or one is held back, or `stop` is set and
    /// [`crate::wake_child`] has been called.
    pub fn sleep(&self, stop: &AtomicBool) {
        let parker = &self.exchange.scoreboard().child(self.child.slot).governor;
        parker.park_unless(|| stop.load(Ordering::Acquire) || self.matters());
    }

    /// Whether more than one thread is unparked, or one is held back.
    #[must_use]
    pub fn matters(&self) -> bool {
        let activity = self.activity();
        activity.unparked > 1 || activity.held_back
    }

    /// What the threads are doing now.
    #[must_use]
    pub fn activity(&self) -> Activity {
        let allowed = &self.exchange.scoreboard().child(self.child.slot).limit;
        let census = allowed.census(self.exchange.parkers(self.child.slot));
        let first = self.exchange.thread_index(self.child.slot, 0);
        let threads = usize::from(self.exchange.geometry().threads);
        let threads = &self.exchange.mapping.threads()[first..first + threads];
        Activity {
            unparked: census.unparked,
            held_back: census.has_parked
                && census.next.is_none()
                && !self.exchange.queue().is_empty(),
            running: threads
                .iter()
                .map(|thread| thread.since.load(Ordering::Relaxed))
                .enumerate()
                .filter(|(_, since)| *since != 0)
                .collect(),
            lasted: threads
                .iter()
                .map(|thread| thread.lasted.load(Ordering::Relaxed))
                .filter(|lasted| *lasted != 0)
                .map(Duration::from_nanos)
                .collect(),
        }
    }

    /// From now on so many threads run at the same time; those that may take a waiting request now are woken.
    pub fn set_limit(&self, limit: u32) {
        let allowed = &self.exchange.scoreboard().child(self.child.slot).limit;
        allowed.set(limit);
        store_load_fence();
        let mut waiting = self.exchange.queue().len();
        while waiting > 0
            && let Some(thread) = allowed.census(self.exchange.parkers(self.child.slot)).next
        {
            if self.exchange.wake(self.child.slot, thread) {
                waiting -= 1;
            }
        }
    }
}
