//! The supervisor's part in logging: it reports lost lines, and replaces the process that writes the log.

use std::time::Duration;

use nix::unistd::Pid;
use tracing::warn;

use crate::sink;
use crate::sys::wait::Exit;

/// The minimum interval between replacements of the log process.
const PACE: Duration = Duration::from_secs(1);

/// What is to be done for the log.
#[derive(Debug, Default)]
pub(crate) struct Logging {
    /// When to retry reporting lost lines.
    report_at: Option<Duration>,
    /// When to check next that no application is blocked on its output.
    mute: Option<Duration>,
    /// The process that creates log files which the front may not create.
    pub(crate) maker: Option<Pid>,
    /// When to replace the log process.
    replace: Option<Duration>,
    /// When it was last replaced.
    replaced: Option<Duration>,
}

/// In a stop, the delay and the interval of checks that no application is blocked on its output.
const MUTE: Duration = Duration::from_secs(1);

impl Logging {
    /// Does what is due.
    pub(crate) fn tend(&mut self, now: Duration) {
        if self.report_at.is_none_or(|due| due <= now) {
            self.report_at = sink::report_lost().map(|pause| now + pause);
        }
        if self.replace.is_some_and(|due| due <= now) {
            let started = sink::restart_relay();
            self.replaced = Some(now);
            self.replace = started.is_err().then_some(now + PACE);
        }
    }

    /// Whether a check that no application is blocked on its output is due, in a stop.
    pub(crate) fn is_time_to_mute(&mut self, now: Duration) -> bool {
        let due = *self.mute.get_or_insert(now + MUTE);
        let is_time = now >= due;
        if is_time {
            self.mute = Some(now + MUTE);
        }
        is_time
    }

    /// Whether to poll for lost lines: not while they are known and cannot be reported.
    pub(crate) fn waits_for_lost_lines(&self) -> bool {
        self.report_at.is_none()
    }

    pub(crate) fn due(&self) -> Option<Duration> {
        let Self {
            report_at,
            mute,
            replace,
            ..
        } = *self;
        [report_at, mute, replace].into_iter().flatten().min()
    }

    /// The log process has ended, and is replaced.
    pub(crate) fn writer_ended(&mut self, pid: Pid, exit: Exit, now: Duration) {
        let (pid, cause) = (pid.as_raw(), exit.to_string());
        warn!(pid, cause, "the process that writes the log died");
        let soonest = self.replaced.map(|last| last + PACE);
        self.replace = Some(soonest.unwrap_or_default().max(now));
    }
}
