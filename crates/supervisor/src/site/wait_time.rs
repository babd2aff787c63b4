//! Estimates how many requests wait, and for how long, from the number of offered requests at earlier checks.

use std::collections::VecDeque;
use std::time::Duration;

use exchange::Load;

/// Observations of the queue, oldest first.
#[derive(Debug, Default)]
pub(crate) struct WaitEstimator {
    /// The number of offered requests, with the time.
    looks: VecDeque<(u64, Duration)>,
}

impl WaitEstimator {
    /// The current demand. The wait is never overestimated; it is underestimated by at most the time since the
    /// check before the oldest request arrived.
    pub(crate) fn look(&mut self, load: &Load, now: Duration) -> pool::Demand {
        while self
            .looks
            .front()
            .is_some_and(|(offered, _)| *offered <= load.taken)
        {
            self.looks.pop_front();
        }
        let since = self.looks.front().map(|(_, since)| *since);
        let has_arrived = self
            .looks
            .back()
            .is_none_or(|(offered, _)| *offered < load.offered);
        if load.waiting() > 0 && has_arrived {
            self.looks.push_back((load.offered, now));
        }
        pool::Demand {
            waiting: load.waiting(),
            longest_wait: since.map_or(Duration::ZERO, |since| now.saturating_sub(since)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_request_has_waited_since_it_was_first_seen() {
        let mut line = WaitEstimator::default();
        // Milliseconds; requests offered and taken by then; waiting requests; milliseconds of the oldest wait.
        for (now, offered, taken, waiting, longest) in [
            (0, 0, 0, 0, 0),
            (100, 5, 5, 0, 0),
            (200, 9, 6, 3, 0),
            (300, 12, 6, 6, 100),
            (400, 20, 10, 10, 100),
            (500, 20, 12, 8, 100),
            (600, 20, 19, 1, 200),
            (700, 20, 20, 0, 0),
            (800, 21, 20, 1, 0),
        ] {
            let load = Load {
                busy: Vec::new(),
                offered,
                taken,
            };
            let expected = pool::Demand {
                waiting,
                longest_wait: Duration::from_millis(longest),
            };
            assert_eq!(
                line.look(&load, Duration::from_millis(now)),
                expected,
                "{now}"
            );
        }
    }
}
