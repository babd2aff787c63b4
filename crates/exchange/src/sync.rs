//! The atomics that the protocols are written with: std's, or loom's when the model checker runs.

#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{
    AtomicBool, AtomicU32, AtomicU32 as Futex, AtomicU64, Ordering, fence,
};

#[cfg(loom)]
pub(crate) use killable::{AtomicBool, AtomicU32, AtomicU64, Futex};
#[cfg(loom)]
pub(crate) use loom::sync::atomic::{Ordering, fence};

/// Nanoseconds of `CLOCK_MONOTONIC`, which is the same in all processes; never 0.
#[cfg(not(loom))]
pub(crate) fn now() -> u64 {
    use rustix::time::{ClockId, clock_gettime};
    let time = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let nanos = u64::try_from(time.tv_nsec).unwrap_or_default();
    (seconds * 1_000_000_000 + nanos).max(1)
}

/// Sleeps until it is woken, if `word` is `expected`; may also return early, so that the caller checks again. `true` when a
/// signal has been handled meanwhile.
#[cfg(not(loom))]
pub(crate) fn futex_wait(word: &Futex, expected: u32) -> bool {
    use rustix::thread::futex;
    // Every error means that the caller checks again: the value has changed, or a signal came. Without flags the futex is
    // shared between processes.
    futex::wait(word, futex::Flags::empty(), expected, None) == Err(rustix::io::Errno::INTR)
}

/// Wakes one thread that sleeps on `word`.
#[cfg(not(loom))]
pub(crate) fn futex_wake(word: &Futex) {
    use rustix::thread::futex;
    let _ = futex::wake(word, futex::Flags::empty(), 1);
}

/// Under the model checker, a lock around the comparison and the wait stands for the kernel's; a lost wake-up becomes a
/// deadlock, which loom reports.
#[cfg(loom)]
pub(crate) fn futex_wait(word: &Futex, expected: u32) -> bool {
    let guard = word
        .sleepers
        .0
        .lock()
        .expect("no thread panics while holding it");
    // No step at which the thread can be killed: the kernel compares and sleeps under its own lock.
    if word.word.value.load(Ordering::Acquire) == expected {
        drop(
            word.sleepers
                .1
                .wait(guard)
                .expect("no thread panics while holding it"),
        );
    }
    false
}

#[cfg(loom)]
pub(crate) fn futex_wake(word: &Futex) {
    // The caller can be killed between marking a thread as woken and this.
    killable::step();
    let _guard = word
        .sleepers
        .0
        .lock()
        .expect("no thread panics while holding it");
    word.sleepers.1.notify_all();
}

/// No clock: the model checks only the order of steps.
#[cfg(loom)]
pub(crate) fn now() -> u64 {
    1
}

/// Atomics at which the model can kill a thread, as by SIGKILL: before its n-th operation.
#[cfg(loom)]
pub(crate) mod killable {
    use loom::sync::atomic::{self, Ordering};
    use loom::sync::{Condvar, Mutex};
    use std::cell::Cell;

    #[derive(Clone, Copy, PartialEq, Eq)]
    enum Kill {
        /// The thread is not to be killed.
        Never,
        /// It is killed before the operation after so many.
        After(u32),
        /// It has been killed. Its destructors must have no effect, since those of a killed process do not run.
        Done,
    }

    loom::thread_local! {
        static KILL: Cell<Kill> = Cell::new(Kill::Never);
    }

    /// What a killed thread unwinds with.
    #[derive(Debug)]
    pub(crate) struct Killed;

    /// Runs `body`, and kills this thread after so many atomic operations; then `None`.
    pub(crate) fn kill_after<T>(operations: u32, body: impl FnOnce() -> T) -> Option<T> {
        KILL.with(|kill| kill.set(Kill::After(operations)));
        let end = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
        KILL.with(|kill| kill.set(Kill::Never));
        match end {
            Ok(value) => Some(value),
            Err(cause) if cause.is::<Killed>() => None,
            Err(cause) => std::panic::resume_unwind(cause),
        }
    }

    /// Whether this thread has been killed, and runs its destructors.
    pub(crate) fn is_killed() -> bool {
        KILL.with(|kill| kill.get() == Kill::Done)
    }

    /// Counts one operation of this thread, and kills it before the one at which it is to be killed.
    pub(crate) fn step() {
        KILL.with(|kill| match kill.get() {
            Kill::Never | Kill::Done => {}
            Kill::After(0) => {
                kill.set(Kill::Done);
                std::panic::resume_unwind(Box::new(Killed));
            }
            Kill::After(left) => kill.set(Kill::After(left - 1)),
        });
    }

    macro_rules! killable {
        ($name:ident, $int:ty) => {
            #[derive(Debug, Default)]
            pub(crate) struct $name {
                pub(crate) value: atomic::$name,
            }

            impl $name {
                pub(crate) fn new(value: $int) -> Self {
                    Self {
                        value: atomic::$name::new(value),
                    }
                }
                pub(crate) fn load(&self, order: Ordering) -> $int {
                    step();
                    self.value.load(order)
                }
                pub(crate) fn store(&self, value: $int, order: Ordering) {
                    step();
                    self.value.store(value, order);
                }
                pub(crate) fn swap(&self, value: $int, order: Ordering) -> $int {
                    step();
                    self.value.swap(value, order)
                }
                pub(crate) fn fetch_or(&self, value: $int, order: Ordering) -> $int {
                    step();
                    self.value.fetch_or(value, order)
                }
                pub(crate) fn compare_exchange(
                    &self,
                    current: $int,
                    new: $int,
                    success: Ordering,
                    failure: Ordering,
                ) -> Result<$int, $int> {
                    step();
                    self.value.compare_exchange(current, new, success, failure)
                }
            }
        };
    }
    killable!(AtomicBool, bool);
    killable!(AtomicU32, u32);
    killable!(AtomicU64, u64);

    /// A word that threads sleep on.
    #[derive(Debug, Default)]
    pub(crate) struct Futex {
        pub(crate) word: AtomicU32,
        pub(crate) sleepers: (Mutex<()>, Condvar),
    }

    impl std::ops::Deref for Futex {
        type Target = AtomicU32;

        fn deref(&self) -> &AtomicU32 {
            &self.word
        }
    }
}
