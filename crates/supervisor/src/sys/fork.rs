//! `fork` and `_exit`.
#![expect(unsafe_code, reason = "fork and _exit")]

use nix::unistd::{ForkResult, Pid};

/// On which side of a fork this process is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Side {
    /// The parent, with the child's process id.
    Parent(Pid),
    /// The child.
    Child,
}

/// Forks this process.
pub(crate) fn fork() -> nix::Result<Side> {
    // SAFETY: the child of a fork has only the calling thread. That endangers no memory: a lock that another thread
    // held stays locked, glibc resets its allocator's locks, the supervisor has been checked to have one thread
    // (`threads`), and a mold's other threads are found by its audit.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Parent { child } => Ok(Side::Parent(child)),
        ForkResult::Child => Ok(Side::Child),
    }
}

/// Exits without running exit handlers: they belong to the process from which this one was forked.
pub(crate) fn leave(code: u8) -> ! {
    // SAFETY: `_exit` may be called at any time; it does not return.
    unsafe { libc::_exit(code.into()) }
}
