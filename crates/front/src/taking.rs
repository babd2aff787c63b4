//! Whether the client of a connection takes what there is for it.
//!
//! That a socket is full says little: the kernel calls it writable again only when a good part has gone. How much it holds
//! tells whether a client takes anything, however slowly.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use tokio::time::Instant;

use crate::clock;

/// Tells how many bytes a socket holds that the other side has not taken.
pub type Untaken = fn(BorrowedFd<'_>) -> io::Result<usize>;

/// Looks within the time that a client may take nothing.
const LOOKS: u32 = 4;

/// A client that has not taken all that there is for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Behind {
    /// Something waits to be written, rather than all being with the kernel.
    pub(crate) writing: bool,
    /// Since when it has taken nothing, as far as we have looked.
    since: Instant,
    looked: Instant,
    untaken: usize,
}

impl Behind {
    pub(crate) fn new(writing: bool, untaken: usize) -> Self {
        let now = clock::now();
        Self {
            writing,
            since: now,
            looked: now,
            untaken,
        }
    }

    /// Whether it is time to look again at what is untaken.
    pub(crate) fn is_to_be_looked_at(&self, most: Duration) -> bool {
        self.looked + most / LOOKS <= clock::now()
    }

    pub(crate) fn look(&mut self, untaken: usize) {
        let now = clock::now();
        if untaken < self.untaken {
            self.since = now;
        }
        (self.looked, self.untaken) = (now, untaken);
    }

    /// When a client that may take nothing for so long is to be thought of again; `None` when it has been too long.
    pub(crate) fn deadline(&self, most: Duration) -> Option<Instant> {
        let end = self.since + most;
        (end > clock::now()).then(|| end.min(self.looked + most / LOOKS))
    }
}
