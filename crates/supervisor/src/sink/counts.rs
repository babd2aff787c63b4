//! Counts lost lines, for all processes of the server together.

use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::eventfd::{EfdFlags, EventFd};

/// The upper bits of the counter: how many lines were written in part.
const TORN: u64 = 1 << 48;

/// A counter in the kernel (eventfd): it is shared by all forked processes, outlives each of them, and can be
/// polled.
#[derive(Debug)]
pub(super) struct Counts(EventFd);

/// What has been lost since the last report.
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
        // Fails only when the counter overflows, after 65,535 partial lines or 2^48 lost ones.
        let _ = (number > 0).then(|| self.0.write(number));
    }

    /// Takes what has been lost so far, to be reported by the caller.
    pub(super) fn take(&self) -> Lost {
        // Without anything to read, nothing is lost.
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
    fn losses_add_up_until_they_are_taken() {
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
