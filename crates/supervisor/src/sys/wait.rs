//! Waits for the end of processes.
#![expect(
    unsafe_code,
    reason = "waitid: nix loses a process that died from a realtime signal"
)]

use std::mem::MaybeUninit;

use nix::errno::Errno;
use nix::unistd::Pid;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It exited with this code.
    Code(u8),
    /// It was killed by a signal.
    Signal {
        /// The number of the signal.
        number: i32,
        /// A core file was written.
        core: bool,
    },
}

/// A child process that has ended. It stays a zombie, so that its id is not reused, until [`release`].
pub(crate) fn ended() -> Option<(Pid, Exit)> {
    wait(libc::P_ALL, 0, libc::WNOHANG | libc::WNOWAIT)
        .ok()
        .flatten()
}

/// Whether this is a child process of ours. Its id is not reused until [`release`].
pub(crate) fn is_ours(pid: Pid) -> bool {
    let Ok(number) = libc::id_t::try_from(pid.as_raw()) else {
        return false;
    };
    // The kernel takes 0 as "any process".
    number > 0 && wait(libc::P_PID, number, libc::WNOHANG | libc::WNOWAIT).is_ok()
}

/// Reaps a zombie.
pub(crate) fn release(pid: Pid) {
    // It has ended, so this neither blocks nor fails.
    let _ = wait(libc::P_PID, pid.as_raw().cast_unsigned(), libc::WNOHANG);
}

/// Waits for the end of one child process.
pub(crate) fn until_ended(pid: Pid) -> nix::Result<Exit> {
    loop {
        match wait(libc::P_PID, pid.as_raw().cast_unsigned(), 0) {
            Ok(Some((_, exit))) => return Ok(exit),
            Ok(None) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

fn wait(
    which: libc::idtype_t,
    id: libc::id_t,
    options: libc::c_int,
) -> nix::Result<Option<(Pid, Exit)>> {
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    // SAFETY: `info` is a siginfo_t that the kernel may write into.
    Errno::result(unsafe { libc::waitid(which, id, info.as_mut_ptr(), options | libc::WEXITED) })?;
    // SAFETY: all-zero bytes are a siginfo_t, and what the kernel writes is one.
    let info = unsafe { info.assume_init() };
    // SAFETY: waitid fills the fields of a SIGCHLD, or leaves zero when no process has ended.
    let pid = unsafe { info.si_pid() };
    if pid == 0 {
        return Ok(None);
    }
    // SAFETY: as above, and a process has ended.
    let status = unsafe { info.si_status() };
    let exit = match info.si_code {
        // The kernel reduces the exit code to its lowest byte.
        libc::CLD_EXITED => Exit::Code(status.to_le_bytes()[0]),
        code => Exit::Signal {
            number: status,
            core: code == libc::CLD_DUMPED,
        },
    };
    Ok(Some((Pid::from_raw(pid), exit)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// The end of a shell that runs `script`.
    fn end_of(script: &str) -> String {
        let mut shell = Command::new("/bin/sh")
            .args(["-c", script])
            .spawn()
            .unwrap();
        let exit = until_ended(Pid::from_raw(shell.id().cast_signed())).unwrap();
        assert!(shell.wait().is_err(), "it is no zombie any more");
        exit.to_string()
    }

    #[test]
    fn only_a_child_that_is_not_reaped_is_ours() {
        let mut sleeper = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = Pid::from_raw(sleeper.id().cast_signed());
        assert!(is_ours(pid));
        sleeper.kill().unwrap();
        assert!(is_ours(pid), "a zombie as well");
        sleeper.wait().unwrap();
        assert!(!is_ours(pid));
        for foreign in [0, -1, 1, i32::MIN, nix::unistd::getppid().as_raw()] {
            assert!(!is_ours(Pid::from_raw(foreign)), "{foreign}");
        }
    }

    #[test]
    fn causes_are_shown_by_name() {
        assert_eq!(end_of("exit 3"), "exit 3");
        assert_eq!(end_of("exit 75"), "exit 75 (application cannot be loaded)");
        assert_eq!(end_of("kill -9 $$"), "signal 9 (SIGKILL)");
        assert_eq!(end_of("kill -40 $$"), "signal 40");
    }
}
