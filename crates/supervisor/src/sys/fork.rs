//! One process becomes two, and leaves.
#![expect(unsafe_code, reason = "fork and _exit")]

use nix::unistd::{ForkResult, Pid};

/// On which side of the fork the caller goes on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Side {
    /// In the process that has been there before.
    Parent(Pid),
    /// In the new process.
    Child,
}

/// Forks this process.
pub(crate) fn fork() -> nix::Result<Side> {
    // SAFETY: the child of a fork has the calling thread only. That endangers no memory: a lock that another thread
    // held stays held, glibc makes its allocator's locks anew, and the supervisor has been found to have one thread
    // (`threads`), while a mold's other threads are what its audit warns of.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Parent { child } => Ok(Side::Parent(child)),
        ForkResult::Child => Ok(Side::Child),
    }
}

/// Ends this process without running anything that was registered for its end: that belongs to the process which this
/// one was forked from.
pub(crate) fn leave(code: u8) -> ! {
    // SAFETY: `_exit` may be called at any time; it does not return.
    unsafe { libc::_exit(code.into()) }
}
