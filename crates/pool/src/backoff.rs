//! How long to wait before what has failed is tried again.

use std::time::Duration;

/// The longest wait.
const LONGEST: Duration = Duration::from_secs(30);

/// A process that has been up for so long ends the back-off.
pub(crate) const SETTLED: Duration = Duration::from_secs(5);

/// Exponential back-off: after each failure the wait is twice the one before.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    /// The wait after a first failure.
    first: Duration,
    /// The wait after a second one.
    second: Duration,
    failures: u32,
    last_failure: Duration,
    not_before: Duration,
}

impl Backoff {
    /// After a first failure no wait, then 0.1 s, 0.2 s, 0.4 s …: for failures that are mostly single ones.
    pub(crate) fn with_immediate_retry() -> Self {
        Self::new(Duration::ZERO, Duration::from_millis(100))
    }

    /// After a first failure 1 s, then 2 s, 4 s …: for failures of a machine that is short of a resource.
    pub(crate) fn from_one_second() -> Self {
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
        // Attempts that were made at the same time fail for the same reason: further failures during a wait do not count.
        if now < self.not_before {
            return;
        }
        let wait = match self.failures {
            0 => self.first,
            // Nine doublings of the shortest wait exceed the longest, so a larger shift is not needed and cannot overflow.
            failures => (self.second * (1 << (failures - 1).min(9))).min(LONGEST),
        };
        self.failures += 1;
        self.not_before = now + wait;
    }

    /// An attempt made at `since` has succeeded. It ends the back-off unless there was a failure after it.
    pub(crate) fn succeeded(&mut self, since: Duration) {
        if self.has_failed() && since > self.last_failure {
            self.failures = 0;
            self.not_before = Duration::ZERO;
        }
    }

    /// When the next attempt may be made.
    pub(crate) fn not_before(&self) -> Duration {
        self.not_before
    }

    /// The last attempt has failed.
    pub(crate) fn has_failed(&self) -> bool {
        self.failures > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The waits, in milliseconds, of failures that each come as soon as the next attempt may be made.
    fn waits(mut backoff: Backoff, count: usize) -> Vec<u128> {
        let mut now = Duration::from_secs(1);
        let mut waits = Vec::new();
        for _ in 0..count {
            backoff.failed(now);
            waits.push((backoff.not_before() - now).as_millis());
            now = backoff.not_before();
        }
        waits
    }

    #[test]
    fn waits_double_up_to_half_a_minute() {
        let expected = [
            0, 100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000, 30_000,
        ];
        assert_eq!(waits(Backoff::with_immediate_retry(), 13), expected);
        assert_eq!(
            waits(Backoff::from_one_second(), 7),
            [1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]
        );
    }

    #[test]
    fn waits_stay_bounded_for_ever() {
        assert!(
            waits(Backoff::with_immediate_retry(), 10_000)
                .iter()
                .all(|wait| *wait <= 30_000)
        );
    }

    #[test]
    fn failures_within_one_wait_count_once() {
        let mut backoff = Backoff::from_one_second();
        for millis in [5000, 5001, 5500, 5999] {
            backoff.failed(Duration::from_millis(millis));
        }
        assert_eq!(backoff.not_before(), Duration::from_secs(6));
    }

    #[test]
    fn a_success_older_than_the_last_failure_proves_nothing() {
        let mut backoff = Backoff::from_one_second();
        backoff.failed(Duration::from_secs(5));
        backoff.succeeded(Duration::from_secs(5));
        assert!(backoff.has_failed());
        backoff.succeeded(Duration::from_secs(6));
        assert!(!backoff.has_failed());
        assert_eq!(backoff.not_before(), Duration::ZERO);
    }
}
