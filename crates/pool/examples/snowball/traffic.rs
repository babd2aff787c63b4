//! The requests and when they come.

use rwsgi_pool::{Directives, Elastic, Mpm};

use crate::site::{END, SECOND, SPIKE};

/// The requests of a run, and the directives of its pools. Times are microseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Traffic {
    /// From one request to the next, until a time.
    load: &'static [(u64, u64)],
    /// A request computes, then waits for the database.
    pub(crate) computing: u64,
    pub(crate) waiting: u64,
    directives: fn() -> Directives,
}

/// A night in which the first children load the application one by one, the morning, the day, the spike, and the day again;
/// with the article's numbers: 5 children at the start, 5 to 10 spare, 150 at most.
pub(crate) const ARTICLE: Traffic = Traffic {
    load: &[
        (4 * SECOND, 60 * SECOND),
        (SECOND / 2, 120 * SECOND),
        (SECOND / 10, SPIKE),
        (SECOND / 70, SPIKE + 30 * SECOND),
        (SECOND / 10, END),
    ],
    computing: 20_000,
    waiting: 100_000,
    directives: || Directives::apache_2009(Mpm::Prefork),
};

/// A spike without a day before it, of requests that compute little; 2 children at the start, 2 to 5 spare, 20 at most.
pub(crate) const COLD: Traffic = Traffic {
    load: &[
        (SECOND / 2, SPIKE),
        (SECOND / 100, SPIKE + 20 * SECOND),
        (SECOND / 2, END),
    ],
    computing: 6_000,
    waiting: 50_000,
    directives: || Directives {
        start_servers: 2,
        min_spare: 2,
        max_spare: 5,
        max_request_workers: 20,
        ..Directives::apache_2009(Mpm::Prefork)
    },
};

impl Traffic {
    pub(crate) fn elastic(&self) -> Elastic {
        (self.directives)().correct(None).0
    }

    /// Requests that come from the spike on.
    pub(crate) fn requests(&self) -> usize {
        let arrivals = self.arrivals();
        arrivals.iter().filter(|time| **time >= SPIKE).count()
    }

    /// The arrival times: intervals of 50 % to 150 % of the even one, by pseudorandom numbers that are the same in each run.
    pub(crate) fn arrivals(&self) -> Vec<u64> {
        let mut arrivals = Vec::new();
        let (mut time, mut random) = (0, 7_u64);
        for (gap, until) in self.load {
            while time < *until {
                arrivals.push(time);
                random = random
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                time += gap / 2 + (random >> 33) % gap;
            }
        }
        arrivals
    }
}
