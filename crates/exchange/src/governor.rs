//! The governor of one child: a thread that sets the limit, and sleeps while all threads idle or only one works.

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

/// What a child's threads are about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// Threads that run a request, or look for one.
    pub awake: u32,
    /// Requests wait, and threads of this child sleep only because they may not take them.
    pub held_back: bool,
    /// The running requests, each a thread and a number that its next one will not have.
    pub running: Vec<(usize, u64)>,
    /// How long the last request of each thread took; without those that have had none.
    pub lasted: Vec<Duration>,
}

impl Governor {
    /// That of this process's child.
    #[must_use]
    pub fn new(exchange: Arc<Exchange>, child: ChildId) -> Self {
        Self { exchange, child }
    }

    /// Sleeps until the limit matters: until more than one thread is awake, or one is held back, or `stop` says so and
    /// [`crate::wake_child`] has been called.
    pub fn sleep(&self, stop: &AtomicBool) {
        let parker = &self.exchange.scoreboard().child(self.child.slot).governor;
        parker.park_unless(|| stop.load(Ordering::Acquire) || self.matters());
    }

    /// Whether more than one thread is awake, or one is held back.
    #[must_use]
    pub fn matters(&self) -> bool {
        let look = self.look();
        look.awake > 1 || look.held_back
    }

    /// What the threads are about now.
    #[must_use]
    pub fn look(&self) -> Look {
        let allowed = &self.exchange.scoreboard().child(self.child.slot).limit;
        let census = allowed.census(self.exchange.parkers(self.child.slot));
        let first = self.exchange.thread_index(self.child.slot, 0);
        let threads = usize::from(self.exchange.geometry().threads);
        let threads = &self.exchange.mapping.threads()[first..first + threads];
        Look {
            awake: census.awake,
            held_back: census.sleeps && census.next.is_none() && !self.exchange.queue().is_empty(),
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

    /// From now on so many threads run at the same time; those that wait for that are woken.
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
