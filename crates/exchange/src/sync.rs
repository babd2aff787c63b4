//! The atomics that the protocols are written with: std's, or loom's when the model checker runs.

#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{
    AtomicBool, AtomicU32, AtomicU32 as Futex, AtomicU64, Ordering, fence,
};

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{Ordering, fence};
#[cfg(loom)]
pub(crate) use mortal::{AtomicBool, AtomicU32, AtomicU64, Futex};

/// Nanoseconds on the clock that all processes of the machine share, never 0.
#[cfg(not(loom))]
pub(crate) fn now() -> u64 {
    use rustix::time::{ClockId, clock_gettime};
    let time = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let nanos = u64::try_from(time.tv_nsec).unwrap_or_default();
    (seconds * 1_000_000_000 + nanos).max(1)
}

/// Sleeps until `word` is no longer `expected`, or for no reason at all: the caller looks again. `true` when a signal has
/// been handled meanwhile.
#[cfg(not(loom))]
pub(crate) fn futex_wait(word: &Futex, expected: u32) -> bool {
    use rustix::thread::futex;
    // Every error means "look again": the value has changed, or a signal came. The futex is shared between processes.
    futex::wait(word, futex::Flags::empty(), expected, None) == Err(rustix::io::Errno::INTR)
}

/// Wakes the one who sleeps on `word`.
#[cfg(not(loom))]
pub(crate) fn futex_wake(word: &Futex) {
    use rustix::thread::futex;
    let _ = futex::wake(word, futex::Flags::empty(), 1);
}

/// Under the model checker, the kernel's part is played by a lock around looking and falling asleep; a wake-up that is
/// lost becomes a deadlock, which loom reports.
#[cfg(loom)]
pub(crate) fn futex_wait(word: &Futex, expected: u32) -> bool {
    let guard = word
        .sleepers
        .0
        .lock()
        .expect("nobody panics while holding it");
    // Not a step of the sleeper: a kill strikes it before or after, never with the kernel's lock in its hand.
    if word.word.value.load(Ordering::Acquire) == expected {
        drop(
            word.sleepers
                .1
                .wait(guard)
                .expect("nobody panics while holding it"),
        );
    }
    false
}

#[cfg(loom)]
pub(crate) fn futex_wake(word: &Futex) {
    // A waker can be killed between marking a sleeper as woken and this.
    mortal::burn();
    let _guard = word
        .sleepers
        .0
        .lock()
        .expect("nobody panics while holding it");
    word.sleepers.1.notify_all();
}

/// No clock: the model asks for order alone.
#[cfg(loom)]
pub(crate) fn now() -> u64 {
    1
}

/// Atomics that a modelled SIGKILL can strike at: a thread with a fuse dies before its n-th operation.
#[cfg(loom)]
pub(crate) mod mortal {
    use loom::sync::atomic::{self, Ordering};
    use loom::sync::{Condvar, Mutex};
    use std::cell::Cell;

    #[derive(Clone, Copy, PartialEq, Eq)]
    enum Fuse {
        /// The thread is not to be killed.
        None,
        /// It is killed before the operation after so many.
        Left(u32),
        /// It has been killed. What its destructors do would not have been done.
        Burnt,
    }

    loom::thread_local! {
        static FUSE: Cell<Fuse> = Cell::new(Fuse::None);
    }

    /// What a killed thread unwinds with.
    #[derive(Debug)]
    pub(crate) struct Killed;

    /// Runs `life`; the thread is killed before its `operations`-th atomic operation, and then the answer is `None`.
    pub(crate) fn with_fuse<T>(operations: u32, incarnation: impl FnOnce() -> T) -> Option<T> {
        FUSE.with(|fuse| fuse.set(Fuse::Left(operations)));
        let end = std::panic::catch_unwind(std::panic::AssertUnwindSafe(incarnation));
        FUSE.with(|fuse| fuse.set(Fuse::None));
        match end {
            Ok(value) => Some(value),
            Err(cause) if cause.is::<Killed>() => None,
            Err(cause) => std::panic::resume_unwind(cause),
        }
    }

    /// Whether this thread has been killed, and runs its destructors.
    pub(crate) fn is_dead() -> bool {
        FUSE.with(|fuse| fuse.get() == Fuse::Burnt)
    }

    pub(crate) fn burn() {
        FUSE.with(|fuse| match fuse.get() {
            Fuse::None | Fuse::Burnt => {}
            Fuse::Left(0) => {
                fuse.set(Fuse::Burnt);
                std::panic::resume_unwind(Box::new(Killed));
            }
            Fuse::Left(left) => fuse.set(Fuse::Left(left - 1)),
        });
    }

    macro_rules! mortal {
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
                    burn();
                    self.value.load(order)
                }
                pub(crate) fn store(&self, value: $int, order: Ordering) {
                    burn();
                    self.value.store(value, order);
                }
                pub(crate) fn swap(&self, value: $int, order: Ordering) -> $int {
                    burn();
                    self.value.swap(value, order)
                }
                pub(crate) fn fetch_or(&self, value: $int, order: Ordering) -> $int {
                    burn();
                    self.value.fetch_or(value, order)
                }
                pub(crate) fn compare_exchange(
                    &self,
                    current: $int,
                    new: $int,
                    success: Ordering,
                    failure: Ordering,
                ) -> Result<$int, $int> {
                    burn();
                    self.value.compare_exchange(current, new, success, failure)
                }
            }
        };
    }
    mortal!(AtomicBool, bool);
    mortal!(AtomicU32, u32);
    mortal!(AtomicU64, u64);

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
