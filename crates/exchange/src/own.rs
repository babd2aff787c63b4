//! Descriptors that code of the application may close without knowing them.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A descriptor whose number may come to stand for something else: it is looked at before it is used.
#[derive(Debug)]
pub(crate) struct Own {
    descriptor: OwnedFd,
    is: (u64, u64),
}

impl Own {
    pub(crate) fn new(descriptor: OwnedFd) -> io::Result<Self> {
        let is = inode(descriptor.as_fd())?;
        Ok(Self { descriptor, is })
    }

    /// The descriptor, if it still is what it was.
    ///
    /// # Errors
    /// When it has been closed, or the number is another file's by now.
    pub(crate) fn get(&self) -> io::Result<BorrowedFd<'_>> {
        let descriptor = self.descriptor.as_fd();
        if inode(descriptor)? == self.is {
            return Ok(descriptor);
        }
        Err(io::Error::new(
            io::ErrorKind::NotConnected,
            "the application has closed a descriptor of the server's",
        ))
    }
}

/// Device and inode: of pipes and sockets, too, no two that are open are the same.
fn inode(descriptor: BorrowedFd<'_>) -> io::Result<(u64, u64)> {
    let found = rustix::fs::fstat(descriptor)?;
    Ok((found.st_dev, found.st_ino))
}
