//! Where the server's own lines go: standard error, which may be anything and must stop nobody.
//!
//! A socket is asked not to wait. A pipe, a FIFO or a terminal is opened anew for this server alone, nonblocking: the
//! application's standard error stays as it was. A file cannot be written to without waiting for its disk, and neither can
//! what could not be opened anew: there a process of its own writes (`relay`), and all others hand lines to it over a
//! socket. What is not taken at once is lost and counted, and the count is told as soon as something is taken again.

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
use notice::{RETRY, lines, tell};
use relay::Relay;
use target::Target;
pub(crate) use target::identity;

use crate::sys::descriptors::close_all_but;

/// How long a process that serves nobody lets a reader catch up, once in each outage.
const GRACE: Duration = Duration::from_millis(100);
/// How long the end of a process waits for its last lines to be taken.
const FAREWELL: Duration = Duration::from_secs(1);
static STANDARD: OnceLock<Sink> = OnceLock::new();

/// Where lines go, in this process and all that are forked from it.
#[derive(Debug)]
struct Sink {
    target: Target,
    counts: Counts,
    notice: Notice,
    /// Writes for all, where writing may wait.
    relay: Option<Relay>,
    /// Nobody may wait for this process.
    hurries: AtomicBool,
}

/// Looks at standard error. To be called while it is the caller's alone, with the rights that opened it, and while there
/// is one thread. Without room for a descriptor nothing is written at all.
pub fn open(notice: Notice) {
    if STANDARD.get().is_none()
        && let Ok(sink) = Sink::open(notice)
    {
        let _ = STANDARD.set(sink);
    }
}

/// Writes an entry of whole lines, or loses and counts what is not taken at once.
pub fn write(entry: &[u8]) {
    if let Some(sink) = STANDARD.get() {
        let hurries = sink.hurries.load(Ordering::Relaxed);
        sink.write(entry, if hurries { Duration::ZERO } else { GRACE });
    }
}

/// From now on this process waits for nobody, not even for a moment: others wait for it.
pub(crate) fn hurry(hurries: bool) {
    if let Some(sink) = STANDARD.get() {
        sink.hurries.store(hurries, Ordering::Relaxed);
    }
}

/// Writes an entry just before this process ends.
pub fn write_last(entry: &[u8]) {
    if let Some(sink) = STANDARD.get() {
        sink.write(entry, FAREWELL);
    }
}

/// Waits until everything has been written, or a second has passed. Nothing can be written afterwards. To be called at
/// the end of the process that called [`open`].
pub fn finish() {
    let Some(sink) = STANDARD.get() else { return };
    let deadline = Instant::now() + FAREWELL;
    match &sink.relay {
        Some(relay) => relay.finish(&sink.target, deadline),
        None => {
            sink.tell_lost(None);
        }
    }
}

/// Writes what was asked for to standard output, waiting for whoever reads it.
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
            // Whoever shares it has made it nonblocking.
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

/// Closes everything but the way of lines, in a process that has just been forked and never returns.
pub(crate) fn keep_alone() {
    let own = STANDARD.get().map(|sink| {
        [
            sink.target.as_fd().as_raw_fd(),
            sink.counts.as_fd().as_raw_fd(),
        ]
    });
    close_all_but(&mut own.unwrap_or([0, 0]));
}

/// What the supervisor waits for on behalf of the sink, unless it knows already.
pub(crate) fn has_lost() -> Option<BorrowedFd<'static>> {
    let sink = STANDARD.get()?;
    sink.relay.is_none().then(|| sink.counts.as_fd())
}

/// Tells what was lost, if that is possible now; if not, how long to wait until trying again.
pub(crate) fn tell_lost() -> Option<Duration> {
    let sink = STANDARD.get()?;
    (sink.relay.is_none() && !sink.tell_lost(None)).then_some(RETRY)
}

/// The process that writes for all others has this number.
pub(crate) fn is_relay(pid: Pid) -> bool {
    relay_process() == Some(pid)
}

/// The process that writes for all others, if there is one.
pub(crate) fn relay_process() -> Option<Pid> {
    relay()?.0.process()
}

/// Another process writes for all others.
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
            // The counts may be somebody else's now, too.
            return;
        }
        let mut deadline = Some(Instant::now() + patience).filter(|_| !patience.is_zero());
        if self.relay.is_none() {
            let lost = self.counts.take();
            if !lost.is_nothing() {
                // The outage has had its moment of grace.
                deadline = deadline.filter(|_| patience > GRACE);
                if !self.tell(lost, deadline) {
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
                // With nothing written of a line, none is torn.
                let torn = written > 0 && part[written - 1] != b'\n';
                self.lose(left, torn);
                return;
            }
        }
    }

    /// Tells what was lost. False if not all of it could be told.
    fn tell_lost(&self, deadline: Option<Instant>) -> bool {
        let lost = if self.target.is_ours() {
            self.counts.take()
        } else {
            Lost::default()
        };
        lost.is_nothing() || self.tell(lost, deadline)
    }

    fn tell(&self, lost: Lost, deadline: Option<Instant>) -> bool {
        let text = tell(lost, self.notice);
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
