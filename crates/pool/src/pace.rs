//! How long to wait before what has failed is tried again.

use std::time::Duration;

/// No attempt waits longer than this.
const LONGEST: Duration = Duration::from_secs(30);

/// A process that has been up for so long ends the back-off that its predecessors have earned.
pub(crate) const SETTLED: Duration = Duration::from_secs(5);

/// Keeps attempts apart that fail again and again: each wait is twice the one before.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    /// The wait after a first failure.
    first: Duration,
    /// The wait after a second one.
    second: Duration,
    failures: u32,
    last_failure: Duration,
    not_before: Duration,
}

impl Pace {
    /// After a first failure at once, then 0.1 s, 0.2 s, 0.4 s …: for what mostly fails by accident.
    pub(crate) fn at_once() -> Self {
        Self::new(Duration::ZERO, Duration::from_millis(100))
    }

    /// After a first failure 1 s, then 2 s, 4 s …: for what fails when the machine is short of something.
    pub(crate) fn in_a_second() -> Self {
        Self::new(Duration::from_secs(1), Duration::from_secs(2))
    }

    fn new(first: Duration, second: Duration) -> Self {
        Self {
            first,
            second,
            failures: 0,
            last_failure: Duration::ZERO,
            not_before: Duration::ZERO,
        }
    }

    /// An attempt has failed.
    pub(crate) fn failed(&mut self, now: Duration) {
        self.last_failure = now;
        // Attempts made together fail together: while one failure is being waited out, others add nothing to it.
        if now < self.not_before {
            return;
        }
        let wait = match self.failures {
            0 => self.first,
            // Eight doublings of the shortest step reach the longest wait, so the shift is far from overflowing.
            failures => (self.second * (1 << (failures - 1).min(9))).min(LONGEST),
        };
        self.failures += 1;
        self.not_before = now + wait;
    }

    /// An attempt made at `since` has succeeded; a failure after that still counts.
    pub(crate) fn succeeded(&mut self, since: Duration) {
        if self.is_troubled() && since > self.last_failure {
            self.failures = 0;
            self.not_before = Duration::ZERO;
        }
    }

    /// When the next attempt may be made.
    pub(crate) fn not_before(&self) -> Duration {
        self.not_before
    }

    /// The last attempt has failed.
    pub(crate) fn is_troubled(&self) -> bool {
        self.failures > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The waits, in milliseconds, of failures that each come as soon as the next attempt may be made.
    fn waits(mut pace: Pace, count: usize) -> Vec<u128> {
        let mut now = Duration::from_secs(1);
        let mut waits = Vec::new();
        for _ in 0..count {
            pace.failed(now);
            waits.push((pace.not_before() - now).as_millis());
            now = pace.not_before();
        }
        waits
    }

    #[test]
    fn waits_double_up_to_half_a_minute() {
        let expected = [
            0, 100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000, 30_000,
        ];
        assert_eq!(waits(Pace::at_once(), 13), expected);
        assert_eq!(
            waits(Pace::in_a_second(), 7),
            [1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]
        );
    }

    #[test]
    fn waits_stay_bounded_for_ever() {
        assert!(
            waits(Pace::at_once(), 10_000)
                .iter()
                .all(|wait| *wait <= 30_000)
        );
    }

    #[test]
    fn failures_within_one_wait_count_once() {
        let mut pace = Pace::in_a_second();
        for millis in [5000, 5001, 5500, 5999] {
            pace.failed(Duration::from_millis(millis));
        }
        assert_eq!(pace.not_before(), Duration::from_secs(6));
    }

    #[test]
    fn a_success_older_than_the_last_failure_proves_nothing() {
        let mut pace = Pace::in_a_second();
        pace.failed(Duration::from_secs(5));
        pace.succeeded(Duration::from_secs(5));
        assert!(pace.is_troubled());
        pace.succeeded(Duration::from_secs(6));
        assert!(!pace.is_troubled());
        assert_eq!(pace.not_before(), Duration::ZERO);
    }
}
