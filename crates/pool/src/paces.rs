//! How patiently what has failed is tried again.

use std::time::Duration;

use crate::pace::{Pace, SETTLED};
use crate::{Child, Event, Mold, Observed};

/// The waits after failures, one for each thing that can fail.
#[derive(Clone, Debug)]
pub(crate) struct Paces {
    pub(crate) births: Pace,
    pub(crate) forks: Pace,
    pub(crate) molds: Pace,
}

impl Default for Paces {
    fn default() -> Self {
        Self {
            births: Pace::at_once(),
            forks: Pace::in_a_second(),
            molds: Pace::at_once(),
        }
    }
}

impl Paces {
    /// What has settled is believed before what has just failed is held against it.
    pub(crate) fn learn(&mut self, seen: &Observed<'_>) {
        let now = seen.now;
        let settled = |since: Duration| now.saturating_sub(since) >= SETTLED;
        for child in seen.children {
            if let Child::Ready { since, .. } = *child
                && settled(since)
            {
                self.births.succeeded(since);
            }
        }
        if let Mold::Ready { since } = seen.mold
            && settled(since)
        {
            self.molds.succeeded(since);
        }
        if seen.events.contains(&Event::Born) {
            self.forks.succeeded(now);
        }
        // Several of a kind in one look have one cause, and count once.
        for (event, pace) in [
            (Event::DiedStarting, &mut self.births),
            (Event::ForkFailed, &mut self.forks),
            (Event::MoldDied, &mut self.molds),
        ] {
            if seen.events.contains(&event) {
                pace.failed(now);
            }
        }
    }

    /// When the next child may be ordered, after those that have failed.
    pub(crate) fn next_birth(&self) -> Duration {
        self.births.not_before().max(self.forks.not_before())
    }
}
