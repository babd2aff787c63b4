//! How many threads of one child should run the application at the same time.
//!
//! ThreadLimitRule of one interpreter that compute take turns, and each turn costs: with 25 of them a page can take twice the
//! processor time. ThreadLimitRule that wait for a database, or compute without the interpreter, run beside each other for
//! nothing. Which of the two it is, nobody is told; but a child whose threads have all that they want of the processor gets
//! nothing from a further one, and a child that idles while requests wait does.
//!
//! So the limit grows while requests are held back and the child does not compute all of the time, shrinks while it does,
//! and is tried one higher now and then, since threads that compute without the interpreter look busy, too. A request that
//! computes for much longer than others usually take does not count: short ones must not wait for it.

use std::time::Duration;

/// A child that computes for so many thousandths of a look is busy.
const BUSY: u32 = 920;
/// Whose average exceeds this has more threads than it can use.
const CROWDED: u32 = 960;
/// ThreadLimitRule that compute beside each other: so many thousandths of one processor.
const PARALLEL: u32 = 1250;
/// What a trial must add to be a success.
const GAIN: u32 = 400;
/// How long a trial lasts. The kernel adds to the account of a thread that runs on another processor only at its ticks, which
/// may be ten milliseconds apart and mostly are four: what is seen of a shorter time says little.
const TRIAL: Duration = Duration::from_millis(24);
/// Looks between trials: the least, and the most after failures.
const PAUSES: (u32, u32) = (8, 512);
/// Looks for which a child has to be crowded before the limit shrinks: the least, and the most after it had to grow again.
const PATIENCE: (u32, u32) = (1, 64);
/// Looks within which a limit that grows again should not have shrunk.
const REGRET: u32 = 16;
/// A request is long that has run for so many times what is usual, and for so long at least.
const LONG: (u32, Duration) = (4, Duration::from_millis(20));

/// What a child's threads have done since the last look.
#[derive(Clone, Copy, Debug)]
pub struct ThreadSample<'a> {
    /// Time since the last look.
    pub passed: Duration,
    /// What the process has spent on processors meanwhile, all threads together.
    pub computed: Duration,
    /// A thread with a request computes now, or would if it had a processor.
    pub computing: bool,
    /// ThreadLimitRule that run a request, or look for one.
    pub awake: u32,
    /// Requests wait for the limit alone.
    pub held_back: bool,
    /// How much each running request has computed, about.
    pub running: &'a [Duration],
    /// How long the last request of each thread took.
    pub lasted: &'a [Duration],
}

/// The limit of one child, and what has to be remembered from look to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThreadLimitRule {
    /// ThreadLimitRule that there are.
    all: u32,
    /// The limit, but for long requests.
    base: u32,
    /// Thousandths of the time for which the child has computed, averaged.
    average: u32,
    /// Looks for which it has been crowded, and must be before the limit shrinks.
    crowded: (u32, u32),
    /// Looks since the limit shrank.
    shrunk: u32,
    trial: Trial,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trial {
    /// So many looks until the next, and how many there were last time; what has been computed since it began.
    Pause { left: u32, whole: u32, so_far: Span },
    /// What was computed before, in thousandths, and what has been since the trial began; how long the last pause was.
    Running {
        before: u32,
        so_far: Span,
        pause: u32,
    },
}

/// What has been computed in some time.
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
    /// A child with so many threads, of which one runs at first.
    #[must_use]
    pub fn new(all: u32) -> Self {
        Self {
            all: all.max(1),
            base: 1,
            average: 0,
            crowded: (0, PATIENCE.0),
            shrunk: u32::MAX,
            trial: Trial::after(PAUSES.0),
        }
    }

    /// Looks once more; gives how many threads may run from now on, at least one.
    pub fn decide(&mut self, seen: &ThreadSample<'_>) -> u32 {
        let level = thousandths(seen.computed, seen.passed);
        self.average = (3 * self.average + level.min(1000)) / 4;
        // Who waits for a processor may keep the interpreter: a further thread would only wait with it.
        let busy = level >= BUSY || seen.computing;
        self.shrunk = self.shrunk.saturating_add(1);
        let crowded = level < PARALLEL && self.average > CROWDED && seen.awake > 1;
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
        if self.shrunk <= REGRET {
            self.crowded.1 = (2 * self.crowded.1).min(PATIENCE.1);
        }
        self.base = if idles { self.base * 2 } else { self.base + 1 };
    }

    fn shrink(&mut self) {
        self.crowded.0 += 1;
        if self.crowded.0 < self.crowded.1 || self.base == 1 {
            return;
        }
        if self.shrunk > REGRET * PATIENCE.1 {
            self.crowded.1 = PATIENCE.0;
        }
        self.base = (self.base - self.base.div_ceil(4)).max(1);
        (self.crowded.0, self.shrunk) = (0, 0);
    }

    fn is_trying(&self) -> bool {
        matches!(self.trial, Trial::Running { .. })
    }

    /// Whether one thread more computes more is found out by letting it.
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
                    // Less than one processor, one thread could have computed: then neighbours have left more of it.
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

/// How many of the running requests take so long that others are not to wait for them. What they compute is compared
/// and not the time: where processors are rare, everything takes longer.
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
