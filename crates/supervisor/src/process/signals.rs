//! Signals: the supervisor reads them from a descriptor; all other processes of the server ignore them.

use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use tracing::debug;

use crate::sys::signal::{Scope, WITHHELD, gather, reset_handlers, reset_withheld};

/// The signals that the supervisor handles, as a descriptor to poll.
#[derive(Debug)]
pub(crate) struct Signals {
    queue: SignalFd,
}

impl Signals {
    /// Blocks these signals, so that they are read here. Others keep their handlers.
    pub(crate) fn take() -> nix::Result<Self> {
        let ours = SigSet::from_iter([
            Signal::SIGTERM,
            Signal::SIGINT,
            Signal::SIGQUIT,
            Signal::SIGHUP,
            Signal::SIGUSR1,
            Signal::SIGUSR2,
            Signal::SIGTTIN,
            Signal::SIGTTOU,
            Signal::SIGWINCH,
            Signal::SIGCHLD,
        ]);
        ours.thread_block()?;
        // With SIGCHLD ignored, as a parent may have left it, the kernel would not report the end of children.
        gather(ours.iter().map(|signal| signal as i32));
        Ok(Self {
            queue: SignalFd::with_flags(&ours, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?,
        })
    }

    /// The next signal, if there is one.
    pub(crate) fn next(&self) -> Option<Signal> {
        loop {
            let info = self.queue.read_signal().ok().flatten()?;
            let signal = Signal::try_from(info.ssi_signo.cast_signed()).ok()?;
            // Signals that the kernel sends for a terminal (window size, background read) are ignored; the same
            // signals from an operator are commands.
            let by_terminal =
                matches!(signal, Signal::SIGWINCH | Signal::SIGTTIN | Signal::SIGTTOU)
                    && info.ssi_code == libc::SI_KERNEL;
            if !by_terminal {
                return Some(signal);
            }
            debug!(%signal, "from the terminal");
        }
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.queue.as_fd()
    }
}

/// Leaves the signals to the supervisor, in a process that it has just forked.
pub(crate) fn leave_to_supervisor() -> nix::Result<()> {
    reset_handlers(Scope::All);
    SigSet::empty().thread_set_mask()
}

/// Withholds the supervisor's signals from the application again. `forget` makes other signal registries forget
/// them, while they are blocked.
pub fn withhold(forget: impl FnOnce()) {
    let withheld = SigSet::from_iter(WITHHELD);
    let former = withheld.thread_swap_mask(SigmaskHow::SIG_BLOCK);
    forget();
    reset_withheld();
    if let Ok(former) = former {
        // Restoring a mask does not fail.
        let _ = former.thread_set_mask();
    }
}

/// Lets this process, which starts no other, write to a terminal with `stty tostop` set: as a background job it
/// would be stopped.
pub(crate) fn write_in_background() {
    // A signal that exists can be blocked.
    let _ = SigSet::from(Signal::SIGTTOU).thread_block();
}

/// Leaves the signals to the supervisor, in a child that a mold has just forked: handlers that the application has
/// set in the mold stay.
pub(crate) fn leave_unhandled_to_supervisor() -> nix::Result<()> {
    reset_handlers(Scope::Unhandled);
    SigSet::empty().thread_set_mask()
}
