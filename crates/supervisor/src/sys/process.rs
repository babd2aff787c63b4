//! Processes by pidfd: reliable, unlike process ids in messages.
#![expect(
    unsafe_code,
    reason = "pidfd_open and pidfd_send_signal, which nix does not have"
)]

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tracing::debug;

/// A process that another process reaps: its id may be reused, but this descriptor keeps referring to it.
#[derive(Debug)]
pub(crate) struct Handle(OwnedFd);

impl Handle {
    /// The process with this id.
    ///
    /// # Errors
    /// When there is none, or the kernel is older than 5.3.
    pub(crate) fn open(pid: Pid) -> nix::Result<Self> {
        // SAFETY: the call takes two numbers and touches no memory.
        let opened = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) };
        let number = RawFd::try_from(Errno::result(opened)?).map_err(|_| Errno::EBADF)?;
        // SAFETY: the kernel has just made this descriptor for us, closed on exec.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(number) }))
    }

    /// Sends it a signal; `None` only checks whether it has been reaped.
    ///
    /// # Errors
    /// `ESRCH` when it has been.
    pub(crate) fn signal(&self, signal: Option<Signal>) -> nix::Result<()> {
        let number = signal.map_or(0, |signal| signal as libc::c_int);
        let (info, flags) = (std::ptr::null::<libc::siginfo_t>(), 0);
        // SAFETY: the descriptor is open, and no siginfo_t is handed over.
        let sent = unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                self.0.as_raw_fd(),
                number,
                info,
                flags,
            )
        };
        Errno::result(sent).map(drop)
    }
}

/// Kills a child process. It has not been reaped, so the process id is its own.
pub(crate) fn kill_now(pid: Pid) {
    if let Err(errno) = kill(pid, Signal::SIGKILL) {
        debug!(pid = pid.as_raw(), %errno, "cannot be killed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::procfs::parent_of;
    use std::process::Command;

    #[test]
    fn a_handle_outlives_the_process_id() {
        let mut sleeper = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = Pid::from_raw(sleeper.id().cast_signed());
        assert_eq!(parent_of(pid), Some(nix::unistd::getpid()));
        let handle = Handle::open(pid).unwrap();
        assert_eq!(handle.signal(None), Ok(()));
        assert_eq!(handle.signal(Some(Signal::SIGKILL)), Ok(()));
        sleeper.wait().unwrap();
        assert_eq!(handle.signal(Some(Signal::SIGKILL)), Err(Errno::ESRCH));
        assert!(Handle::open(pid).is_err());
        assert_eq!(parent_of(pid), None);
    }
}
