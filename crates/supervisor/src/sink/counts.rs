//! How many lines have been lost, for all processes of the server together.

use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::eventfd::{EfdFlags, EventFd};

/// In the upper part of the kernel's number: how often a line was written in part.
const TORN: u64 = 1 << 48;

/// A number that the kernel keeps: it is the same for every process that was forked, outlives each of them, and can be
/// waited for.
#[derive(Debug)]
pub(super) struct Counts(EventFd);

/// What has been lost since somebody told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lost {
    pub(super) lines: u64,
    /// The last line was written in part.
    pub(super) torn: bool,
}

impl Lost {
    pub(super) fn is_nothing(self) -> bool {
        self == Self::default()
    }
}

impl Counts {
    pub(super) fn new() -> nix::Result<Self> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        Ok(Self(EventFd::from_flags(flags)?))
    }

    pub(super) fn add(&self, lost: Lost) {
        let number = lost.lines.min(TORN - 1) + u64::from(lost.torn) * TORN;
        // Refused only when the kernel's number would not hold it: 65,535 torn lines or 2^48 lost ones.
        let _ = (number > 0).then(|| self.0.write(number));
    }

    /// What has been lost so far, to be told by whoever takes it.
    pub(super) fn take(&self) -> Lost {
        // Nothing to read means that nothing is lost.
        let number = self.0.read().unwrap_or(0);
        Lost {
            lines: number % TORN,
            torn: number >= TORN,
        }
    }
}

impl AsFd for Counts {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_adds_up_until_it_is_taken() {
        let counts = Counts::new().unwrap();
        assert!(counts.take().is_nothing());
        let (two, torn) = (
            Lost {
                lines: 2,
                torn: false,
            },
            Lost {
                lines: 1,
                torn: true,
            },
        );
        counts.add(two);
        counts.add(torn);
        counts.add(Lost::default());
        assert_eq!(
            counts.take(),
            Lost {
                lines: 3,
                torn: true
            }
        );
        assert!(counts.take().is_nothing());
    }
}
