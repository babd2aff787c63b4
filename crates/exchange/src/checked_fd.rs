//! Descriptors that the application may close, as code does that closes every descriptor it did not open.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A descriptor that is checked before each use: its number may have been closed and given to another file.
#[derive(Debug)]
pub(crate) struct CheckedFd {
    descriptor: OwnedFd,
    inode: (u64, u64),
}

impl CheckedFd {
    pub(crate) fn new(descriptor: OwnedFd) -> io::Result<Self> {
        let inode = inode(descriptor.as_fd())?;
        Ok(Self { descriptor, inode })
    }

    /// The descriptor, if it still refers to the same file.
    ///
    /// # Errors
    /// When it has been closed, or its number belongs to another file by now.
    pub(crate) fn get(&self) -> io::Result<BorrowedFd<'_>> {
        let descriptor = self.descriptor.as_fd();
        if inode(descriptor)? == self.inode {
            return Ok(descriptor);
        }
        Err(io::Error::new(
            io::ErrorKind::NotConnected,
            "the application has closed a descriptor of the server's",
        ))
    }
}

/// Device and inode. Open pipes and sockets have inodes of their own, too.
fn inode(descriptor: BorrowedFd<'_>) -> io::Result<(u64, u64)> {
    let found = rustix::fs::fstat(descriptor)?;
    Ok((found.st_dev, found.st_ino))
}
