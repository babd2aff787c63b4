//! The pipe by which a thread wakes the front from its event loop.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::pipe::{PipeFlags, pipe_with};

use crate::checked_fd::CheckedFd;

/// The writing end of a pipe. An eventfd would cost as much, and not every event loop takes one.
#[derive(Debug)]
pub(crate) struct Doorbell(CheckedFd);

impl Doorbell {
    /// The writing end, which is the children's, and the reading end, which is the front's.
    pub(crate) fn open() -> io::Result<(Self, OwnedFd)> {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        Ok((Self(CheckedFd::new(writer)?), reader))
    }

    /// Makes the reading end readable.
    ///
    /// # Errors
    /// When the application has closed the writing end.
    pub(crate) fn ring(&self) -> io::Result<()> {
        // A pipe that is full is readable already.
        let _ = rustix::io::write(self.get()?, &[0]);
        Ok(())
    }

    /// The writing end.
    ///
    /// # Errors
    /// When the application has closed it.
    pub(crate) fn get(&self) -> io::Result<BorrowedFd<'_>> {
        self.0.get()
    }
}
