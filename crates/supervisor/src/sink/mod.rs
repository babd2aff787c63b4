//! Writes the server's log to standard error, which may be anything and must never block a process.
//!
//! A socket is written with MSG_DONTWAIT. A pipe, FIFO or terminal is reopened nonblocking for this server alone,
//! so that the application's standard error is unchanged. A file, or a descriptor that could not be reopened, may
//! block on its disk: there a separate process writes (`relay`), to which all others send lines over a socket. What
//! cannot be written at once is lost and counted, and the count is reported once writing works again.

mod counts;
mod notice;
mod relay;
mod target;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::Pid;

use counts::{Counts, Lost};
pub use notice::Notice;
use notice::{RETRY, format_report, lines};
use relay::Relay;
use target::Target;
pub(crate) use target::identity;

use crate::sys::descriptors::close_all_but;

/// How long a process that serves no clients waits for a reader, once per outage.
const GRACE: Duration = Duration::from_millis(100);
/// How long an exiting process waits until its last lines are written.
const EXIT_TIMEOUT: Duration = Duration::from_secs(1);
static STANDARD: OnceLock<Sink> = OnceLock::new();

/// Where lines are written, in this process and all that are forked from it.
#[derive(Debug)]
struct Sink {
    target: Target,
    counts: Counts,
    notice: Notice,
    /// The process that writes for all, where writing may block.
    relay: Option<Relay>,
    /// This process must not wait at all.
    hurries: AtomicBool,
}

/// Examines standard error. To be called with a single thread, before standard error is shared, and with the rights
/// that opened it. Without a free descriptor nothing is written at all.
pub fn open(notice: Notice) {
    if STANDARD.get().is_none()
        && let Ok(sink) = Sink::open(notice)
    {
        let _ = STANDARD.set(sink);
    }
}

/// Writes an entry of whole lines. What cannot be written at once is lost and counted.
pub fn write(entry: &[u8]) {
    if let Some(sink) = STANDARD.get() {
        let hurries = sink.hurries.load(Ordering::Relaxed);
        sink.write(entry, if hurries { Duration::ZERO } else { GRACE });
    }
}

/// Whether this process must not wait at all for a reader, because others wait for it.
pub(crate) fn set_hurried(hurries: bool) {
    if let Some(sink) = STANDARD.get() {
        sink.hurries.store(hurries, Ordering::Relaxed);
    }
}

/// Writes an entry just before this process exits.
pub fn write_last(entry: &[u8]) {
    if let Some(sink) = STANDARD.get() {
        sink.write(entry, EXIT_TIMEOUT);
    }
}

/// Waits until everything is written, at most one second. Nothing can be written afterwards. To be called at the
/// end of the process that called [`open`].
pub fn finish() {
    let Some(sink) = STANDARD.get() else { return };
    let deadline = Instant::now() + EXIT_TIMEOUT;
    match &sink.relay {
        Some(relay) => relay.finish(&sink.target, deadline),
        None => {
            sink.report_lost(None);
        }
    }
}

/// Writes command output to standard output, and waits for the reader.
///
/// # Errors
/// When it cannot be written.
pub fn print(text: &[u8]) -> io::Result<()> {
    let stdout = io::stdout();
    let mut left = text;
    while !left.is_empty() {
        match nix::unistd::write(&stdout, left) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => left = &left[written..],
            Err(Errno::EINTR) => {}
            // Another process that shares it has made it nonblocking.
            Err(Errno::EAGAIN) => {
                let fd = PollFd::new(stdout.as_fd(), PollFlags::POLLOUT);
                poll(&mut [fd], PollTimeout::NONE)?;
            }
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// Device and inode of standard error.
#[must_use]
pub fn standard_error() -> Option<(u64, u64)> {
    identity(io::stderr())
}

/// Closes everything but the log, in a process that was just forked and never returns.
pub(crate) fn close_all_but_log() {
    let own = STANDARD.get().map(|sink| {
        [
            sink.target.as_fd().as_raw_fd(),
            sink.counts.as_fd().as_raw_fd(),
        ]
    });
    close_all_but(&mut own.unwrap_or([0, 0]));
}

/// The descriptor that signals lost lines, unless their loss is already known.
pub(crate) fn has_lost() -> Option<BorrowedFd<'static>> {
    let sink = STANDARD.get()?;
    sink.relay.is_none().then(|| sink.counts.as_fd())
}

/// Reports lost lines, if possible now; otherwise returns how long to wait until a retry.
pub(crate) fn report_lost() -> Option<Duration> {
    let sink = STANDARD.get()?;
    (sink.relay.is_none() && !sink.report_lost(None)).then_some(RETRY)
}

/// Whether this is the process that writes for all others.
pub(crate) fn is_relay(pid: Pid) -> bool {
    relay_process() == Some(pid)
}

/// The process that writes for all others, if there is one.
pub(crate) fn relay_process() -> Option<Pid> {
    relay()?.0.process()
}

/// Starts another process that writes for all others.
pub(crate) fn restart_relay() -> nix::Result<()> {
    relay().map_or(Ok(()), |(relay, sink)| {
        relay.start(&sink.counts, sink.notice)
    })
}

fn relay() -> Option<(&'static Relay, &'static Sink)> {
    let sink = STANDARD.get()?;
    Some((sink.relay.as_ref()?, sink))
}

impl Sink {
    fn open(notice: Notice) -> nix::Result<Self> {
        let counts = Counts::new()?;
        let (target, relay) = match Target::standard_error() {
            Ok(target) => (target, None),
            Err(_) => {
                let (relay, target) = Relay::new()?;
                relay.start(&counts, notice)?;
                (target, Some(relay))
            }
        };
        Ok(Self {
            target,
            counts,
            notice,
            relay,
            hurries: AtomicBool::new(false),
        })
    }

    fn write(&self, entry: &[u8], patience: Duration) {
        if !self.target.is_ours() {
            // The application has closed it, and perhaps the counter, too: nothing can be counted.
            return;
        }
        let mut deadline = Some(Instant::now() + patience).filter(|_| !patience.is_zero());
        if self.relay.is_none() {
            let lost = self.counts.take();
            if !lost.is_nothing() {
                // The grace period of this outage is over.
                deadline = deadline.filter(|_| patience > GRACE);
                if !self.report(lost, deadline) {
                    self.lose(entry, false);
                    return;
                }
            }
        }
        let mut left = entry;
        for part in self.target.parts(entry) {
            let written = self.target.write(part, deadline);
            left = &left[written..];
            if written < part.len() {
                // If no byte was written, no line is torn.
                let torn = written > 0 && part[written - 1] != b'\n';
                self.lose(left, torn);
                return;
            }
        }
    }

    /// Reports lost lines. False if not all could be reported.
    fn report_lost(&self, deadline: Option<Instant>) -> bool {
        let lost = if self.target.is_ours() {
            self.counts.take()
        } else {
            Lost::default()
        };
        lost.is_nothing() || self.report(lost, deadline)
    }

    fn report(&self, lost: Lost, deadline: Option<Instant>) -> bool {
        let text = format_report(lost, self.notice);
        let written = self.target.write(text.as_bytes(), deadline);
        if written == text.len() {
            return true;
        }
        self.counts.add(Lost {
            lines: lost.lines,
            torn: if written == 0 {
                lost.torn
            } else {
                !text.as_bytes()[..written].ends_with(b"\n")
            },
        });
        false
    }

    fn lose(&self, entry: &[u8], torn: bool) {
        self.counts.add(Lost {
            lines: lines(entry),
            torn,
        });
    }
}
