//! Signals: the supervisor reads them one by one, every other process of the server leaves them to it.

use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use tracing::debug;

use crate::sys::signal::{Scope, WITHHELD, gather, reset_handlers, reset_withheld};

/// The signals that the supervisor acts upon, as something to wait for.
#[derive(Debug)]
pub(crate) struct Signals {
    queue: SignalFd,
}

impl Signals {
    /// From here on these signals wait until they are read. The others keep doing what they did.
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
        // With SIGCHLD ignored, as a parent may have left it, the ends of children would vanish unseen.
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
            // A terminal sends these by the kernel: its window has another size, or a process in the background wants to
            // read from it. That asks for nothing here, unlike the same signal from an operator.
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

/// Leaves signals to the supervisor, in a process that it has just forked.
pub(crate) fn leave_to_supervisor() -> nix::Result<()> {
    reset_handlers(Scope::All);
    SigSet::empty().thread_set_mask()
}

/// Leaves the signals that are withheld from the application to the supervisor once more. `forget` has whoever else has taken
/// them forget that, and they wait meanwhile.
pub fn withhold(forget: impl FnOnce()) {
    let withheld = SigSet::from_iter(WITHHELD);
    let former = withheld.thread_swap_mask(SigmaskHow::SIG_BLOCK);
    forget();
    reset_withheld();
    if let Ok(former) = former {
        // A mask that was there can be set again.
        let _ = former.thread_set_mask();
    }
}

/// Lets this process, which starts no other, write to a terminal whose background jobs may not (`stty tostop`): it would be
/// stopped.
pub(crate) fn write_in_background() {
    // A signal that exists can be blocked.
    let _ = SigSet::from(Signal::SIGTTOU).thread_block();
}

/// Leaves signals to the supervisor, in a child that a mold has just forked: what the application has set up in the
/// mold stays.
pub(crate) fn stay_out_of_it() -> nix::Result<()> {
    reset_handlers(Scope::Unhandled);
    SigSet::empty().thread_set_mask()
}
