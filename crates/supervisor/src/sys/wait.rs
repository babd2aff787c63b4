//! How processes end.
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
    /// It left with this code.
    Code(u8),
    /// It was killed.
    Signal {
        /// By this signal.
        number: i32,
        /// And its memory was written to a core file.
        core: bool,
    },
}

/// Some child process that has ended and stays a zombie, so that its number is still its own, until [`release`].
pub(crate) fn ended() -> Option<(Pid, Exit)> {
    wait(libc::P_ALL, 0, libc::WNOHANG | libc::WNOWAIT)
        .ok()
        .flatten()
}

/// Whether this is the number of a child process of ours, which it stays until [`release`].
pub(crate) fn is_ours(pid: Pid) -> bool {
    let Ok(number) = libc::id_t::try_from(pid.as_raw()) else {
        return false;
    };
    // The kernel takes 0 for no particular process.
    number > 0 && wait(libc::P_PID, number, libc::WNOHANG | libc::WNOWAIT).is_ok()
}

/// Lets a zombie go.
pub(crate) fn release(pid: Pid) {
    // It has been seen to have ended, so this neither waits nor fails.
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
    // SAFETY: waitid fills the fields of a SIGCHLD, or leaves zero when nobody has ended.
    let pid = unsafe { info.si_pid() };
    if pid == 0 {
        return Ok(None);
    }
    // SAFETY: as above, and somebody has ended.
    let status = unsafe { info.si_status() };
    let exit = match info.si_code {
        // A code is what the process gave, cut to its lowest byte by the kernel.
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

    /// How a shell that runs `script` ends.
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
    fn causes_are_told_by_name() {
        assert_eq!(end_of("exit 3"), "exit 3");
        assert_eq!(end_of("exit 75"), "exit 75 (application cannot be loaded)");
        assert_eq!(end_of("kill -9 $$"), "signal 9 (SIGKILL)");
        assert_eq!(end_of("kill -40 $$"), "signal 40");
    }
}
