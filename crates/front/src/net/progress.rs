//! Whether the client of a connection reads its response.
//!
//! A full socket is no proof of a slow client: the kernel reports it writable only after a good part of its buffer
//! was acknowledged. The number of bytes in the buffer shows slow progress as well.

use std::time::Duration;

use tokio::time::Instant;

/// Checks within the time that a client may read nothing.
const CHECKS: u32 = 4;

/// How slow a client may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// How long it may read nothing.
    pub(crate) pause: Duration,
    /// The minimum average rate in bytes per second after `pause`; 0 allows any rate.
    pub(crate) least: u64,
}

/// A client that has not read all that was sent to it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SlowReader {
    /// Data waits to be written, and is not only in the kernel's buffer.
    pub(crate) writing: bool,
    /// Since when the client has read nothing, as far as was checked.
    since: Instant,
    looked: Instant,
    /// Bytes given to the kernel on this connection, and the number of them that the client has not read.
    sent: u64,
    untaken: usize,
    began: Instant,
    before: Pace,
}

/// How fast a client has read a response over several waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    waited: Duration,
    /// Bytes that the client had read on this connection at the first wait.
    first: u64,
}

impl Patience {
    /// How much longer a client may pause, after waiting for `waited` in which it has sent or read `bytes`; `None`
    /// when the time is over.
    pub(crate) fn left(self, waited: Duration, bytes: u64) -> Option<Duration> {
        let Some(earned) = bytes.saturating_mul(1000).checked_div(self.least) else {
            return Some(self.pause);
        };
        let allowed = self.pause.saturating_add(Duration::from_millis(earned));
        Some(allowed.checked_sub(waited)?.min(self.pause))
    }
}

impl SlowReader {
    /// A client on whose connection the kernel was given `sent` bytes, of which `untaken` are unread. `before` is
    /// its pace in the same response, if it has been slow before.
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

    /// Whether the number of unread bytes should be checked again.
    pub(crate) fn needs_check(&self, most: Duration, now: Instant) -> bool {
        self.looked + most / CHECKS <= now
    }

    /// Notes the number of unread bytes.
    pub(crate) fn look(&mut self, untaken: usize, now: Instant) {
        if untaken < self.untaken {
            self.since = now;
        }
        (self.looked, self.untaken) = (now, untaken);
    }

    /// When to check again, for a client that may be this slow; `None` when it has been too slow.
    pub(crate) fn deadline(&self, patience: Patience, now: Instant) -> Option<Instant> {
        let taken = self.sent.saturating_sub(self.untaken as u64);
        let taken = taken.saturating_sub(self.before.first);
        let left = patience.left(self.pace(now).waited, taken)?;
        let end = (self.since + patience.pause).min(now + left);
        (end > now).then(|| end.min(self.looked + patience.pause / CHECKS))
    }

    /// Its pace in this response so far.
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
        assert!(!reader.needs_check(PATIENCE.pause, at(1)));
        assert!(reader.needs_check(PATIENCE.pause, at(2)));
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
        // 8 seconds are allowed, and 3 were earned.
        assert_eq!(reader.deadline(patience, at(7)), Some(at(9)));
        assert_eq!(reader.deadline(patience, at(10)), Some(at(9)));
        assert_eq!(reader.deadline(patience, at(11)), None);
        // The time between does not count; what was read meanwhile counts.
        let pace = reader.pace(at(7));
        let reader = SlowReader::new(true, 1040, 1000, Some(pace), at(100));
        assert!(reader.deadline(patience, at(104)).is_some());
        assert_eq!(reader.deadline(patience, at(105)), None);
        assert!(reader.deadline(PATIENCE, at(107)).is_some());
    }
}
