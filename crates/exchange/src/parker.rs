//! Parking and waking threads, in an order by which no wake-up is lost (an eventcount).
//!
//! The thread that parks first stores `PARKED`, then looks once more for work. The other side first publishes the work,
//! then loads the parker's state. Between store and load both sides have a full fence, so at least one of them sees what
//! the other has stored. An unparked thread is not woken, which saves the system call.

use crate::sync::{Futex, Ordering, fence, futex_wait, futex_wake};

const UNPARKED: u32 = 0;
const PARKED: u32 = 1;

/// What one thread, or the front, is parked on.
#[derive(Debug)]
#[cfg_attr(loom, derive(Default))]
#[repr(C)]
pub(crate) struct Parker(Futex);

impl Parker {
    /// Parks until [`Parker::unpark`], unless `something_to_do`, which is called after `PARKED` has been stored.
    pub(crate) fn park_unless(&self, something_to_do: impl FnOnce() -> bool) {
        if self.prepare_park(something_to_do) {
            while self.0.load(Ordering::Acquire) == PARKED {
                futex_wait(&self.0, PARKED);
            }
        }
    }

    /// As [`Parker::park_unless`], but also ends when a signal has been handled: then `true`.
    pub(crate) fn park_until_signal_unless(&self, something_to_do: impl FnOnce() -> bool) -> bool {
        if self.prepare_park(something_to_do) {
            while self.0.load(Ordering::Acquire) == PARKED {
                if futex_wait(&self.0, PARKED) {
                    self.cancel_park();
                    return true;
                }
            }
        }
        false
    }

    /// The first half of [`Parker::park_unless`], for a thread that then waits on something else: whether it may wait.
    pub(crate) fn prepare_park(&self, something_to_do: impl FnOnce() -> bool) -> bool {
        self.0.store(PARKED, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if something_to_do() {
            self.cancel_park();
            return false;
        }
        true
    }

    /// Stores that this thread is not parked.
    pub(crate) fn cancel_park(&self) {
        self.0.store(UNPARKED, Ordering::Relaxed);
    }

    /// Whether a thread is parked here. To be called after [`store_load_fence`].
    pub(crate) fn is_parked(&self) -> bool {
        self.0.load(Ordering::Relaxed) == PARKED
    }

    /// Wakes the parked thread; `false` when there is none, or another process has just woken it.
    pub(crate) fn unpark(&self) -> bool {
        let woken = self.mark_unparked();
        if woken {
            futex_wake(&self.0);
        }
        woken
    }

    /// Wakes the thread also when it was marked as woken by a process that died before it woke it. A thread without work
    /// parks again.
    pub(crate) fn unpark_always(&self) {
        self.cancel_park();
        futex_wake(&self.0);
    }

    /// Marks the parked thread as woken; a caller that gets `true` must wake it.
    pub(crate) fn mark_unparked(&self) -> bool {
        self.is_parked()
            && self
                .0
                .compare_exchange(PARKED, UNPARKED, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
    }
}

/// To be called between publishing work and [`Parker::is_parked`].
pub(crate) fn store_load_fence() {
    fence(Ordering::SeqCst);
}
