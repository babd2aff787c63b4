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
pub(crate) struct Bell(Futex);

impl Bell {
    /// Sleeps until [`Bell::ring`], unless `something_to_do` after it has been said that we sleep.
    pub(crate) fn sleep_unless(&self, something_to_do: impl FnOnce() -> bool) {
        if self.lie_down(something_to_do) {
            while self.0.load(Ordering::Acquire) == ASLEEP {
                futex_wait(&self.0, ASLEEP);
            }
        }
    }

    /// As [`Bell::sleep_unless`], but also until a signal has been handled: then `true`.
    pub(crate) fn sleep_until_signal_unless(&self, something_to_do: impl FnOnce() -> bool) -> bool {
        if self.lie_down(something_to_do) {
            while self.0.load(Ordering::Acquire) == ASLEEP {
                if futex_wait(&self.0, ASLEEP) {
                    self.get_up();
                    return true;
                }
            }
        }
        false
    }

    /// The first half of [`Bell::sleep_unless`], for a sleeper that waits on something else: whether it may sleep.
    pub(crate) fn lie_down(&self, something_to_do: impl FnOnce() -> bool) -> bool {
        self.0.store(ASLEEP, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if something_to_do() {
            self.get_up();
            return false;
        }
        true
    }

    /// Says that we are awake.
    pub(crate) fn get_up(&self) {
        self.0.store(AWAKE, Ordering::Relaxed);
    }

    /// Whether somebody sleeps here. Comes after [`published`].
    pub(crate) fn sleeps(&self) -> bool {
        self.0.load(Ordering::Relaxed) == ASLEEP
    }

    /// Wakes the sleeper; `false` when there is none, or another has just woken it.
    pub(crate) fn ring(&self) -> bool {
        let woken = self.stir();
        if woken {
            futex_wake(&self.0);
        }
        woken
    }

    /// Wakes whoever sleeps here, also one that was marked as woken by somebody who died before waking it. A sleeper
    /// that has nothing to do lies down again.
    pub(crate) fn rouse(&self) {
        self.get_up();
        futex_wake(&self.0);
    }

    /// Marks the sleeper as woken; whoever gets `true` must wake it.
    pub(crate) fn stir(&self) -> bool {
        self.sleeps()
            && self
                .0
                .compare_exchange(ASLEEP, AWAKE, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
    }
}

/// Stands between publishing work and looking whether somebody sleeps.
pub(crate) fn published() {
    fence(Ordering::SeqCst);
}
