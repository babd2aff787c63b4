//! Wake-ups: nobody is woken who is awake, and nobody sleeps while there is something to do.
//!
//! Both directions follow one rule. The sleeper first says that it sleeps, then looks once more. The other side first
//! publishes the work, then looks whether somebody sleeps. Between saying and looking stands a full fence on either
//! side, so at least one of the two sees the other.

use crate::sync::{Futex, Ordering, fence, futex_wait, futex_wake};

const AWAKE: u32 = 0;
const ASLEEP: u32 = 1;

/// What one thread sleeps on, or the front.
#[derive(Debug)]
#[cfg_attr(loom, derive(Default))]
#[repr(C)]
pub(crate) struct Parker(Futex);

impl Parker {
    /// Sleeps until [`Parker::unpark`], unless `something_to_do` after it has been said that we sleep.
    pub(crate) fn park_unless(&self, something_to_do: impl FnOnce() -> bool) {
        if self.prepare_park(something_to_do) {
            while self.0.load(Ordering::Acquire) == ASLEEP {
                futex_wait(&self.0, ASLEEP);
            }
        }
    }

    /// As [`Parker::park_unless`], but also until a signal has been handled: then `true`.
    pub(crate) fn park_until_signal_unless(&self, something_to_do: impl FnOnce() -> bool) -> bool {
        if self.prepare_park(something_to_do) {
            while self.0.load(Ordering::Acquire) == ASLEEP {
                if futex_wait(&self.0, ASLEEP) {
                    self.set_awake();
                    return true;
                }
            }
        }
        false
    }

    /// The first half of [`Parker::park_unless`], for a sleeper that waits on something else: whether it may sleep.
    pub(crate) fn prepare_park(&self, something_to_do: impl FnOnce() -> bool) -> bool {
        self.0.store(ASLEEP, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if something_to_do() {
            self.set_awake();
            return false;
        }
        true
    }

    /// Content that we are awake.
    pub(crate) fn set_awake(&self) {
        self.0.store(AWAKE, Ordering::Relaxed);
    }

    /// Whether somebody sleeps here. Comes after [`store_load_fence`].
    pub(crate) fn is_parked(&self) -> bool {
        self.0.load(Ordering::Relaxed) == ASLEEP
    }

    /// Wakes the sleeper; `false` when there is none, or another has just woken it.
    pub(crate) fn unpark(&self) -> bool {
        let woken = self.mark_awake();
        if woken {
            futex_wake(&self.0);
        }
        woken
    }

    /// Wakes whoever sleeps here, also one that was marked as woken by somebody who died before waking it. A sleeper
    /// that has nothing to do lies down again.
    pub(crate) fn unpark_always(&self) {
        self.set_awake();
        futex_wake(&self.0);
    }

    /// Marks the sleeper as woken; whoever gets `true` must wake it.
    pub(crate) fn mark_awake(&self) -> bool {
        self.is_parked()
            && self
                .0
                .compare_exchange(ASLEEP, AWAKE, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
    }
}

/// Stands between publishing work and looking whether somebody sleeps.
pub(crate) fn store_load_fence() {
    fence(Ordering::SeqCst);
}
