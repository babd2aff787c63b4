//! The supervisor looks after the log: what was lost is told, and who writes it is replaced.

use std::time::Duration;

use nix::unistd::Pid;
use tracing::warn;

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

impl Logging {
    /// Does what is due.
    pub(crate) fn tend(&mut self, now: Duration) {
        if self.tell.is_none_or(|due| due <= now) {
            self.tell = sink::tell_lost().map(|pause| now + pause);
        }
        if self.replace.is_some_and(|due| due <= now) {
            let started = sink::restart_relay();
            self.replaced = Some(now);
            self.replace = started.is_err().then_some(now + PACE);
        }
    }

    /// Whether it is time, in a stop, to see to it that no application waits to print.
    pub(crate) fn is_time_to_mute(&mut self, now: Duration) -> bool {
        let due = *self.mute.get_or_insert(now + MUTE);
        let is_time = now >= due;
        if is_time {
            self.mute = Some(now + MUTE);
        }
        is_time
    }

    /// Whether lost lines are something to wait for: not while it is known that they cannot be told.
    pub(crate) fn waits_for_lost_lines(&self) -> bool {
        self.tell.is_none()
    }

    pub(crate) fn due(&self) -> Option<Duration> {
        let Self {
            tell,
            mute,
            replace,
            ..
        } = *self;
        [tell, mute, replace].into_iter().flatten().min()
    }

    /// The process that writes the log has ended: another one takes its place.
    pub(crate) fn writer_ended(&mut self, pid: Pid, exit: Exit, now: Duration) {
        let (pid, cause) = (pid.as_raw(), exit.to_string());
        warn!(pid, cause, "the process that writes the log died");
        let soonest = self.replaced.map(|last| last + PACE);
        self.replace = Some(soonest.unwrap_or_default().max(now));
    }
}
