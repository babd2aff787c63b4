//! The waits after failed starts, forks and molds.

use std::time::Duration;

use crate::backoff::{Backoff, SETTLED};
use crate::{Child, Event, Mold, Observed};

/// One back-off for each thing that can fail.
#[derive(Clone, Debug)]
pub(crate) struct Backoffs {
    pub(crate) starts: Backoff,
    pub(crate) forks: Backoff,
    pub(crate) molds: Backoff,
}

impl Default for Backoffs {
    fn default() -> Self {
        Self {
            starts: Backoff::with_immediate_retry(),
            forks: Backoff::from_one_second(),
            molds: Backoff::with_immediate_retry(),
        }
    }
}

impl Backoffs {
    /// Successes count before failures of the same look, so that a process that has settled ends the back-off first.
    pub(crate) fn update(&mut self, seen: &Observed<'_>) {
        let now = seen.now;
        let settled = |since: Duration| now.saturating_sub(since) >= SETTLED;
        for child in seen.children {
            if let Child::Ready { since, .. } = *child
                && settled(since)
            {
                self.starts.succeeded(since);
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
        // Several of a kind in one look have one cause and count once.
        for (event, backoff) in [
            (Event::DiedStarting, &mut self.starts),
            (Event::ForkFailed, &mut self.forks),
            (Event::MoldDied, &mut self.molds),
        ] {
            if seen.events.contains(&event) {
                backoff.failed(now);
            }
        }
    }

    /// When the next child may be ordered.
    pub(crate) fn next_start(&self) -> Duration {
        self.starts.not_before().max(self.forks.not_before())
    }
}
