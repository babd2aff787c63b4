//! A process that a mold forks before any child, to test whether the loaded application works after a fork.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{Pid, getpid};
use tracing::error;

use crate::process::exit::ExitReason;
use crate::process::signals;
use crate::process::spawn::{ForkHooks, die_with, guarded};
use crate::sys::fork::{Side, fork, leave};
use crate::sys::title;
use crate::sys::wait::until_ended;

/// The result of a trial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tried {
    /// It ended regularly with this result.
    Ended(u8),
    /// It ended otherwise; the text says how.
    Died(String),
    /// It did not end in time, and was killed.
    Late,
}

/// Forks a process that runs `live`, waits for it, and kills it when it is late. The supervisor does not know it,
/// it holds no slot, and it exits without running exit handlers.
///
/// # Errors
/// When it cannot be forked.
pub fn try_out(
    patience: Duration,
    around: &dyn ForkHooks,
    live: &mut dyn FnMut() -> u8,
) -> io::Result<Tried> {
    let (mut reader, mut writer) = io::pipe()?;
    let mold = getpid();
    around.before();
    match fork() {
        Ok(Side::Child) => {
            around.in_child();
            if let Err(errno) =
                die_with(mold).and_then(|()| signals::leave_unhandled_to_supervisor())
            {
                error!(%errno, "the trial cannot begin");
                leave(ExitReason::CannotStart.code());
            }
            title::set("rwsgi: trial", "rwsgi:trial");
            let code = guarded(live);
            // Fails when the mold has gone.
            let _ = writer.write_all(&[code]);
            leave(code)
        }
        Ok(Side::Parent(pid)) => {
            around.in_parent();
            drop(writer);
            Ok(outcome(pid, &mut reader, patience)?)
        }
        Err(errno) => {
            around.in_parent();
            Err(errno.into())
        }
    }
}

fn outcome(pid: Pid, reader: &mut io::PipeReader, patience: Duration) -> nix::Result<Tried> {
    let deadline = Instant::now() + patience;
    let has_report = loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::new(reader.as_fd(), PollFlags::POLLIN)];
        match poll(
            &mut fds,
            PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX),
        ) {
            Ok(0) if !left.is_zero() => {}
            Ok(0) => break false,
            Ok(_) => break true,
            Err(Errno::EINTR) => {}
            Err(_) => break false,
        }
    };
    let mut code = [0];
    if has_report && reader.read(&mut code).is_ok_and(|read| read > 0) {
        until_ended(pid)?;
        return Ok(Tried::Ended(code[0]));
    }
    // Ends the process if it has not ended; it is not reaped before, so that the process id is still its own.
    if !has_report {
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
    }
    let exit = until_ended(pid)?;
    Ok(if has_report {
        Tried::Died(exit.to_string())
    } else {
        Tried::Late
    })
}
