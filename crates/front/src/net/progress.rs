//! Whether the client of a connection takes what there is for it.
//!
//! That a socket is full says little: the kernel calls it writable again only when a good part has gone. How much it holds
//! tells whether a client takes anything, however slowly.

use std::time::Duration;

use tokio::time::Instant;

/// Looks within the time that a client may take nothing.
const LOOKS: u32 = 4;

/// A client that has not taken all that there is for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SlowReader {
    /// Something waits to be written, rather than all being with the kernel.
    pub(crate) writing: bool,
    /// Since when it has taken nothing, as far as we have looked.
    since: Instant,
    looked: Instant,
    untaken: usize,
}

impl SlowReader {
    pub(crate) fn new(writing: bool, untaken: usize, now: Instant) -> Self {
        Self {
            writing,
            since: now,
            looked: now,
            untaken,
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

    /// When a client that may take nothing for so long is to be looked at again; `None` when it has been too long.
    pub(crate) fn deadline(&self, most: Duration, now: Instant) -> Option<Instant> {
        let end = self.since + most;
        (end > now).then(|| end.min(self.looked + most / LOOKS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_slow_for_as_long_as_it_takes_nothing() {
        let most = Duration::from_secs(8);
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut reader = SlowReader::new(true, 100, begin);
        assert!(!reader.is_to_be_looked_at(most, at(1)));
        assert!(reader.is_to_be_looked_at(most, at(2)));
        reader.look(100, at(2));
        assert_eq!(reader.deadline(most, at(2)), Some(at(4)));
        reader.look(99, at(7));
        assert_eq!(reader.deadline(most, at(14)), Some(at(9)));
        assert_eq!(reader.deadline(most, at(15)), None);
    }
}
