//! The supervisor looks after the log: what was lost is told, and who writes it is replaced.

use std::time::Duration;

use nix::unistd::Pid;
use tracing::warn;

use crate::family::Slot;
use crate::message::ChildOrder;
use crate::monitor::Monitor;
use crate::sink;
use crate::sys::wait::Exit;

/// A process that writes the log and has died is replaced at most so often.
const PACE: Duration = Duration::from_secs(1);

/// What is to be done about the log.
#[derive(Debug, Default)]
pub(crate) struct Logging {
    /// When to try again to tell of lines that were lost.
    tell: Option<Duration>,
    /// When to see next that no application waits to print.
    mute: Option<Duration>,
    /// The process that makes log files which the front may not make, and of whose end it is told.
    pub(crate) maker: Option<Pid>,
    /// When to replace the process that writes.
    replace: Option<Duration>,
    /// When it was replaced last.
    replaced: Option<Duration>,
}

/// How long after its beginning, and how often then, a stop sees to it that no application waits to print.
const MUTE: Duration = Duration::from_secs(1);

impl Monitor<'_> {
    /// Does what is due.
    pub(crate) fn tend_log(&mut self) {
        let now = self.now();
        if self.logging.tell.is_none_or(|due| due <= now) {
            self.logging.tell = sink::tell_lost().map(|pause| now + pause);
        }
        if self.logging.replace.is_some_and(|due| due <= now) {
            let started = sink::restart_relay();
            self.logging.replaced = Some(now);
            self.logging.replace = started.is_err().then_some(now + PACE);
        }
    }

    /// In a stop, has children give up output that nobody reads.
    pub(crate) fn mute_children(&mut self) {
        let now = self.now();
        let due = *self.logging.mute.get_or_insert(now + MUTE);
        if now < due {
            return;
        }
        self.logging.mute = Some(now + MUTE);
        for child in self.slots.iter().filter_map(Slot::child) {
            // One that has no room for it has heard it before.
            let _ = child
                .link
                .as_ref()
                .map(|link| link.say_now(ChildOrder::GiveUpOutput));
        }
    }

    /// Whether lost lines are something to wait for: not while it is known that they cannot be told.
    pub(crate) fn waits_for_lost_lines(&self) -> bool {
        self.logging.tell.is_none()
    }

    pub(crate) fn log_due(&self) -> Option<Duration> {
        let Logging {
            tell,
            mute,
            replace,
            ..
        } = self.logging;
        [tell, mute, replace].into_iter().flatten().min()
    }

    /// The process that writes the log has ended: another one takes its place.
    pub(crate) fn bury_log_writer(&mut self, pid: Pid, exit: Exit) {
        let (pid, cause) = (pid.as_raw(), exit.to_string());
        warn!(pid, cause, "the process that writes the log died");
        let soonest = self.logging.replaced.map(|last| last + PACE);
        self.logging.replace = Some(soonest.unwrap_or_default().max(self.now()));
    }
}
