//! Whether the client of a connection takes what there is for it.
//!
//! That a socket is full says little: the kernel calls it writable again only when a good part has gone. How much it holds
//! tells whether a client takes anything, however slowly.

use std::time::Duration;

use tokio::time::Instant;

/// Looks within the time that a client may take nothing.
const LOOKS: u32 = 4;

/// How slow a client may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// How long it may do nothing.
    pub(crate) pause: Duration,
    /// Bytes a second that are the least on average once it has been waited for as long as that; 0 allows any rate.
    pub(crate) least: u64,
}

/// A client that has not taken all that there is for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SlowReader {
    /// Something waits to be written, rather than all being with the kernel.
    pub(crate) writing: bool,
    /// Since when it has taken nothing, as far as we have looked.
    since: Instant,
    looked: Instant,
    /// Bytes that the kernel has been given on this connection, and those of them that the client has not taken.
    sent: u64,
    untaken: usize,
    began: Instant,
    before: Pace,
}

/// How a client has taken a response, for which it has been waited several times.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    waited: Duration,
    /// Bytes that it had taken on this connection when it was first waited for.
    first: u64,
}

impl Patience {
    /// How long a client may now do nothing that has been waited for so long, and has sent or taken so many bytes meanwhile;
    /// `None` when that is over.
    pub(crate) fn left(self, waited: Duration, bytes: u64) -> Option<Duration> {
        let Some(earned) = bytes.saturating_mul(1000).checked_div(self.least) else {
            return Some(self.pause);
        };
        let allowed = self.pause.saturating_add(Duration::from_millis(earned));
        Some(allowed.checked_sub(waited)?.min(self.pause))
    }
}

impl SlowReader {
    /// One of whose connection the kernel has been given so much, and which has not taken so much of it. `before` is how it has
    /// taken the same response until now, if it has been slow before.
    pub(crate) fn new(
        writing: bool,
        sent: u64,
        untaken: usize,
        before: Option<Pace>,
        now: Instant,
    ) -> Self {
        let (waited, first) = (Duration::ZERO, sent.saturating_sub(untaken as u64));
        Self {
            writing,
            since: now,
            looked: now,
            sent,
            untaken,
            began: now,
            before: before.unwrap_or(Pace { waited, first }),
        }
    }

    /// Whether it is time to look again at what is untaken.
    pub(crate) fn is_to_be_looked_at(&self, most: Duration, now: Instant) -> bool {
        self.looked + most / LOOKS <= now
    }

    /// Notes how many bytes are untaken.
    pub(crate) fn look(&mut self, untaken: usize, now: Instant) {
        if untaken < self.untaken {
            self.since = now;
        }
        (self.looked, self.untaken) = (now, untaken);
    }

    /// When a client that may be so slow is to be looked at again; `None` when it has been too slow.
    pub(crate) fn deadline(&self, patience: Patience, now: Instant) -> Option<Instant> {
        let taken = self.sent.saturating_sub(self.untaken as u64);
        let taken = taken.saturating_sub(self.before.first);
        let left = patience.left(self.pace(now).waited, taken)?;
        let end = (self.since + patience.pause).min(now + left);
        (end > now).then(|| end.min(self.looked + patience.pause / LOOKS))
    }

    /// How it has taken the response until now.
    pub(crate) fn pace(&self, now: Instant) -> Pace {
        Pace {
            waited: self.before.waited + (now - self.began),
            ..self.before
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience {
        pause: Duration::from_secs(8),
        least: 0,
    };

    #[test]
    fn a_client_is_slow_for_as_long_as_it_takes_nothing() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut reader = SlowReader::new(true, 100, 100, None, begin);
        assert!(!reader.is_to_be_looked_at(PATIENCE.pause, at(1)));
        assert!(reader.is_to_be_looked_at(PATIENCE.pause, at(2)));
        reader.look(100, at(2));
        assert_eq!(reader.deadline(PATIENCE, at(2)), Some(at(4)));
        reader.look(99, at(7));
        assert_eq!(reader.deadline(PATIENCE, at(14)), Some(at(9)));
        assert_eq!(reader.deadline(PATIENCE, at(15)), None);
    }

    #[test]
    fn a_client_takes_too_little_also_when_it_takes_something_every_time() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let patience = Patience {
            least: 10,
            ..PATIENCE
        };
        let mut reader = SlowReader::new(true, 1000, 1000, None, begin);
        reader.look(970, at(7));
        // 8 seconds are given, and 3 earned.
        assert_eq!(reader.deadline(patience, at(7)), Some(at(9)));
        assert_eq!(reader.deadline(patience, at(10)), Some(at(9)));
        assert_eq!(reader.deadline(patience, at(11)), None);
        // The time between does not count, what has been taken meanwhile does.
        let pace = reader.pace(at(7));
        let reader = SlowReader::new(true, 1040, 1000, Some(pace), at(100));
        assert!(reader.deadline(patience, at(104)).is_some());
        assert_eq!(reader.deadline(patience, at(105)), None);
        assert!(reader.deadline(PATIENCE, at(107)).is_some());
    }
}
