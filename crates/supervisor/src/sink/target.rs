//! A destination for log lines that can be written without blocking.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::sys::socket::{MsgFlags, send};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};

/// POSIX: up to this many bytes are written to a pipe completely or not at all.
const PIPE_BUF: usize = libc::PIPE_BUF;
/// Up to this many bytes are sent over a unix socket completely or not at all: the kernel keeps such a message in
/// one piece.
pub(super) const MESSAGE: usize = 32 * 1024;

/// A descriptor of the server's own; the application's changes to its standard error do not affect it.
#[derive(Debug)]
pub(super) struct Target {
    descriptor: OwnedFd,
    identity: (u64, u64),
    is_socket: bool,
    is_terminal: bool,
}

/// Why writing to a descriptor would block.
#[derive(Debug)]
pub(super) enum Waits {
    /// It is a regular file: writes may block on the disk regardless of O_NONBLOCK.
    File,
    /// It could not be reopened.
    Refused,
}

/// Device and inode, which identify an open file.
pub(crate) fn identity(descriptor: impl AsFd) -> Option<(u64, u64)> {
    fstat(descriptor)
        .ok()
        .map(|found| (found.st_dev, found.st_ino))
}

impl Target {
    /// The target of standard error.
    ///
    /// # Errors
    /// When writing to it would block.
    pub(super) fn standard_error() -> Result<Self, Waits> {
        let stderr = io::stderr();
        Self::of(stderr.as_fd(), "/proc/self/fd/2")
    }

    fn of(descriptor: BorrowedFd<'_>, path: &str) -> Result<Self, Waits> {
        let found = fstat(descriptor).map_err(|_| Waits::Refused)?;
        match kind(&found) {
            SFlag::S_IFSOCK => {
                let copy = descriptor.try_clone_to_owned();
                copy.map(Self::socket).map_err(|_| Waits::Refused)
            }
            SFlag::S_IFIFO | SFlag::S_IFCHR => {
                // Reopened: setting O_NONBLOCK on this descriptor would affect the application, too.
                let flags =
                    OFlag::O_WRONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
                let own = open(path, flags, Mode::empty()).map_err(|_| Waits::Refused)?;
                let is_terminal = nix::unistd::isatty(&own).unwrap_or(false);
                Ok(Self::over(own, false, is_terminal))
            }
            _ => Err(Waits::File),
        }
    }

    /// A socket, to which each message is sent with MSG_DONTWAIT.
    pub(super) fn socket(socket: OwnedFd) -> Self {
        Self::over(socket, true, false)
    }

    fn over(descriptor: OwnedFd, is_socket: bool, is_terminal: bool) -> Self {
        Self {
            identity: identity(&descriptor).unwrap_or_default(),
            descriptor,
            is_socket,
            is_terminal,
        }
    }

    /// Whether the number still refers to the same file: the application may have closed descriptors of the server
    /// and opened others, into which no log line may go.
    pub(super) fn is_ours(&self) -> bool {
        identity(&self.descriptor) == Some(self.identity)
    }

    /// Splits an entry into parts that are written completely or not at all, except for longer lines.
    pub(super) fn parts<'e>(&self, entry: &'e [u8]) -> impl Iterator<Item = &'e [u8]> + use<'e> {
        parts(entry, if self.is_socket { MESSAGE } else { PIPE_BUF })
    }

    /// Writes as much as possible, waiting until `deadline` at most; returns the number of bytes.
    pub(super) fn write(&self, bytes: &[u8], deadline: Option<Instant>) -> usize {
        let mut written = 0;
        while written < bytes.len() {
            match self.write_now(&bytes[written..]) {
                Ok(length) => written += length,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) if deadline.is_some_and(|until| self.wait(until)) => {}
                Err(_) => break,
            }
        }
        written
    }

    fn write_now(&self, bytes: &[u8]) -> nix::Result<usize> {
        if self.is_socket {
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
            let number = std::os::fd::AsRawFd::as_raw_fd(&self.descriptor);
            return send(number, &bytes[..bytes.len().min(MESSAGE)], flags);
        }
        if !self.is_terminal {
            return nix::unistd::write(&self.descriptor, bytes);
        }
        // With `stty tostop`, SIGTTOU would stop a background process that writes to its terminal.
        let mask = SigSet::from(Signal::SIGTTOU).thread_swap_mask(SigmaskHow::SIG_BLOCK);
        let written = nix::unistd::write(&self.descriptor, bytes);
        if let Ok(mask) = mask {
            // Restoring a mask does not fail.
            let _ = mask.thread_set_mask();
        }
        written
    }

    /// Waits until there is room. False at the deadline.
    fn wait(&self, until: Instant) -> bool {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        let fd = PollFd::new(self.descriptor.as_fd(), PollFlags::POLLOUT);
        poll(&mut [fd], timeout(left)) != Ok(0)
    }
}

impl AsFd for Target {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// A timeout for `poll`, rounded up: one that ends too early would be repeated.
pub(super) fn timeout(time: Duration) -> PollTimeout {
    PollTimeout::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(PollTimeout::MAX)
}

/// The kind of the file.
pub(super) fn kind(found: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT
}

/// Splits an entry into parts of whole lines of at most `most` bytes. A longer line is a part of its own.
fn parts(entry: &[u8], most: usize) -> impl Iterator<Item = &[u8]> {
    let mut rest = entry;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let fitting = &rest[..rest.len().min(most)];
        let end = if fitting.len() == rest.len() {
            rest.len()
        } else {
            let newline = |bytes: &[u8]| bytes.iter().rposition(|byte| *byte == b'\n');
            let first_long = || rest.iter().position(|byte| *byte == b'\n');
            newline(fitting)
                .or_else(first_long)
                .map_or(rest.len(), |at| at + 1)
        };
        let (part, others) = rest.split_at(end);
        rest = others;
        Some(part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_whole_lines_and_together_the_entry() {
        let short = "a line\n".repeat(2000);
        let long = format!("one\n{}\ntwo\n", "x".repeat(3 * PIPE_BUF));
        for entry in [short.as_str(), long.as_str(), "one\n", "no end", ""] {
            let found: Vec<&[u8]> = parts(entry.as_bytes(), PIPE_BUF).collect();
            assert_eq!(found.concat(), entry.as_bytes());
            for part in &found {
                let lines = part.split_inclusive(|byte| *byte == b'\n').count();
                assert!(part.len() <= PIPE_BUF || lines == 1);
                assert!(part.ends_with(b"\n") || entry == "no end");
            }
        }
    }
}
