//! How many threads of one child should run the application at the same time.
//!
//! Threads of one interpreter that compute take turns, and each change costs: with 25 threads a page can take twice the
//! processor time. Threads that wait for a database, or compute without the GIL, run beside each other at no cost. Which
//! of the two a child does cannot be read anywhere. But when its threads already use a whole processor, a further one gains
//! nothing, and when the child idles while requests wait, a further one does.
//!
//! So the limit grows while requests are held back and the child does not compute all of the time, shrinks while it does,
//! and is raised by one on trial at intervals, since threads that compute without the GIL look busy, too. A request that
//! computes for much longer than others usually take does not count, so that short ones do not wait for it.

use std::time::Duration;

/// A child that computes for so many thousandths of the time is busy.
const BUSY: u32 = 920;
/// A child whose average is above this, in thousandths, has more threads than it can use.
const CROWDED: u32 = 960;
/// From so many thousandths of one processor on, threads compute beside each other, without the GIL.
const PARALLEL: u32 = 1250;
/// Thousandths of a processor that a trial must add to be a success.
const GAIN: u32 = 400;
/// How long a trial lasts. The kernel updates the processor time of a thread that runs on another processor only at its
/// ticks, which are mostly 4 ms apart and at most 10 ms: over a shorter time the measurement means little.
const TRIAL: Duration = Duration::from_millis(24);
/// Looks between trials: the fewest, and the most after failed ones.
const PAUSES: (u32, u32) = (8, 512);
/// Looks for which a child has to be crowded before the limit shrinks: the fewest, and the most after it had to grow again.
const CROWDED_LOOKS: (u32, u32) = (1, 64);
/// A limit that grows again within so many looks has shrunk too soon.
const TOO_SOON: u32 = 16;
/// A request is long when it has computed for so many times the usual duration, and at least for so long.
const LONG: (u32, Duration) = (4, Duration::from_millis(20));

/// What a child's threads have done since the last look.
#[derive(Clone, Copy, Debug)]
pub struct ThreadSample<'a> {
    /// Time since the last look.
    pub passed: Duration,
    /// Processor time of the process meanwhile, all threads together.
    pub computed: Duration,
    /// A thread with a request computes now, or waits for a processor.
    pub computing: bool,
    /// Threads that are not parked: they run a request, or look for one.
    pub unparked: u32,
    /// Requests wait only because of the limit.
    pub held_back: bool,
    /// About how long each running request has computed.
    pub running: &'a [Duration],
    /// How long the last request of each thread took.
    pub lasted: &'a [Duration],
}

/// The limit of one child, and what is kept from look to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThreadLimitRule {
    /// The child's threads.
    all: u32,
    /// The limit without long requests.
    base: u32,
    /// Thousandths of the time for which the child has computed, averaged.
    average: u32,
    /// Looks for which it has been crowded, and for which it must be before the limit shrinks.
    crowded: (u32, u32),
    /// Looks since the limit shrank.
    shrunk: u32,
    trial: Trial,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trial {
    /// Between trials: looks that are left of the pause and its whole length; the processor time since it began.
    Pause { left: u32, whole: u32, so_far: Span },
    /// On trial: the level before, in thousandths, the processor time since, and the length of the last pause.
    Running {
        before: u32,
        so_far: Span,
        pause: u32,
    },
}

/// Processor time in a span of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Span {
    passed: Duration,
    computed: Duration,
}

impl Span {
    fn and(self, seen: &ThreadSample<'_>) -> Self {
        Self {
            passed: self.passed + seen.passed,
            computed: self.computed + seen.computed,
        }
    }

    fn level(self) -> u32 {
        thousandths(self.computed, self.passed)
    }
}

impl Trial {
    fn after(looks: u32) -> Self {
        Self::Pause {
            left: looks,
            whole: looks,
            so_far: Span::default(),
        }
    }
}

impl ThreadLimitRule {
    /// The rule of a child with so many threads, of which one runs at first.
    #[must_use]
    pub fn new(all: u32) -> Self {
        Self {
            all: all.max(1),
            base: 1,
            average: 0,
            crowded: (0, CROWDED_LOOKS.0),
            shrunk: u32::MAX,
            trial: Trial::after(PAUSES.0),
        }
    }

    /// Returns how many threads may run from now on, at least one.
    pub fn decide(&mut self, seen: &ThreadSample<'_>) -> u32 {
        let level = thousandths(seen.computed, seen.passed);
        self.average = (3 * self.average + level.min(1000)) / 4;
        // A thread that waits for a processor may hold the GIL, and a further thread would wait for both.
        let busy = level >= BUSY || seen.computing;
        self.shrunk = self.shrunk.saturating_add(1);
        let crowded = level < PARALLEL && self.average > CROWDED && seen.unparked > 1;
        if !busy {
            self.trial = Trial::after(PAUSES.0);
            self.crowded.0 = 0;
            if seen.held_back {
                self.grow(level < BUSY / 2);
            }
        } else if crowded && !self.is_trying() {
            self.shrink();
        }
        if busy && (seen.held_back || self.is_trying()) {
            self.step_trial(seen);
        }
        self.base = self.base.clamp(1, self.all);
        (self.base + long(seen)).min(self.all)
    }

    fn grow(&mut self, idles: bool) {
        if self.shrunk <= TOO_SOON {
            self.crowded.1 = (2 * self.crowded.1).min(CROWDED_LOOKS.1);
        }
        self.base = if idles { self.base * 2 } else { self.base + 1 };
    }

    fn shrink(&mut self) {
        self.crowded.0 += 1;
        if self.crowded.0 < self.crowded.1 || self.base == 1 {
            return;
        }
        if self.shrunk > TOO_SOON * CROWDED_LOOKS.1 {
            self.crowded.1 = CROWDED_LOOKS.0;
        }
        self.base = (self.base - self.base.div_ceil(4)).max(1);
        (self.crowded.0, self.shrunk) = (0, 0);
    }

    fn is_trying(&self) -> bool {
        matches!(self.trial, Trial::Running { .. })
    }

    /// Finds out by trial whether the child computes more with one more thread.
    fn step_trial(&mut self, seen: &ThreadSample<'_>) {
        self.trial = match self.trial {
            Trial::Pause {
                left: 0,
                whole,
                so_far,
            } if self.base < self.all && so_far.passed >= TRIAL => {
                self.base += 1;
                Trial::Running {
                    before: so_far.level(),
                    so_far: Span::default(),
                    pause: whole,
                }
            }
            Trial::Pause {
                left,
                whole,
                so_far,
            } => Trial::Pause {
                left: left.saturating_sub(1),
                whole,
                so_far: so_far.and(seen),
            },
            Trial::Running {
                before,
                so_far,
                pause,
            } => {
                let so_far = so_far.and(seen);
                if so_far.passed < TRIAL {
                    Trial::Running {
                        before,
                        so_far,
                        pause,
                    }
                } else if so_far.level() >= (before + GAIN).max(PARALLEL) {
                    // One thread alone can use a whole processor: below PARALLEL the gain may come from other processes that
                    // use less of it.
                    Trial::Pause {
                        left: 0,
                        whole: 0,
                        so_far,
                    }
                } else {
                    self.base -= 1;
                    Trial::after((2 * pause).clamp(PAUSES.0, PAUSES.1))
                }
            }
        };
    }
}

/// How many of the running requests are so long that others are not to wait for them. Their processor time is compared,
/// not the time since they began, since on a loaded machine everything takes longer.
fn long(seen: &ThreadSample<'_>) -> u32 {
    let mut lasted = seen.lasted.to_vec();
    let middle = lasted.len() / 2;
    let usual = match lasted.as_mut_slice() {
        [] => Duration::ZERO,
        lasted => *lasted.select_nth_unstable(middle).1,
    };
    let limit = (usual * LONG.0).max(LONG.1);
    let long = seen.running.iter().filter(|running| **running > limit);
    u32::try_from(long.count()).unwrap_or(u32::MAX)
}

fn thousandths(part: Duration, whole: Duration) -> u32 {
    let whole = whole.as_nanos().max(1);
    u32::try_from(part.as_nanos() * 1000 / whole).unwrap_or(u32::MAX)
}
