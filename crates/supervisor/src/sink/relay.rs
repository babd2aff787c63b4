//! The process `rwsgi: log`, which writes for all others where writing may block.
//!
//! Of the server it has only the socket on which lines arrive, the counter and standard error. It ends when no
//! process is left that could send lines, or when the supervisor has gone and everything is written. If it is
//! killed, the lines that wait in the socket are written by its replacement.

use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, socketpair};
use nix::unistd::{Pid, getppid, pipe2};

use super::counts::{Counts, Lost};
use super::notice::{Notice, RETRY, format_report, lines};
use super::target::{MESSAGE, Target, timeout};
use crate::sys::descriptors::{close_all_but, open_output_anew, replace_standard};
use crate::sys::fork::{Side, fork, leave};
use crate::sys::process::kill_now;
use crate::sys::title;

/// The supervisor's message that no further lines follow. No line begins with it.
const END: &[u8] = b"\0";

/// The supervisor's state for it.
#[derive(Debug)]
pub(super) struct Relay {
    /// Where lines arrive. Kept open here, so that they wait there while no process reads them.
    inbox: OwnedFd,
    process: Mutex<Option<Process>>,
}

#[derive(Debug)]
struct Process {
    pid: Pid,
    /// The pipe ends when the process ends.
    life: OwnedFd,
}

impl Relay {
    /// A relay that has not been started, and the target that writes to it.
    pub(super) fn new() -> nix::Result<(Self, Target)> {
        let (inbox, ours) = socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC,
        )?;
        let relay = Self {
            inbox,
            process: Mutex::new(None),
        };
        Ok((relay, Target::socket(ours)))
    }

    /// Starts the process, the first or a replacement.
    pub(super) fn start(&self, counts: &Counts, notice: Notice) -> nix::Result<()> {
        let supervisor = nix::unistd::getpid();
        self.set(None);
        let (life, end) = pipe2(OFlag::O_CLOEXEC)?;
        match fork()? {
            Side::Child => live(&self.inbox, counts, notice, &end, supervisor),
            Side::Parent(pid) => self.set(Some(Process { pid, life })),
        }
        Ok(())
    }

    fn set(&self, process: Option<Process>) {
        // Nothing panics with the lock held.
        if let Ok(mut place) = self.process.lock() {
            *place = process;
        }
    }

    /// The process that writes.
    pub(super) fn process(&self) -> Option<Pid> {
        let process = self.process.lock().ok()?;
        Some(process.as_ref()?.pid)
    }

    /// Has it write everything that was sent, and exit.
    pub(super) fn finish(&self, target: &Target, deadline: Instant) {
        target.write(END, Some(deadline));
        let process = self
            .process
            .lock()
            .ok()
            .and_then(|mut process| process.take());
        let Some(Process { pid, life }) = process else {
            return;
        };
        if !ended(&life, deadline) {
            // A process that is blocked on a disk dies when the disk responds.
            kill_now(pid);
        }
    }
}

/// Waits for the end of the pipe. False at the deadline.
fn ended(life: &OwnedFd, deadline: Instant) -> bool {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::new(life.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, timeout(left)) {
            Ok(0) if left.is_zero() => return false,
            Ok(0) | Err(_) => {}
            Ok(_) => return true,
        }
    }
}

/// The process.
fn live(inbox: &OwnedFd, counts: &Counts, notice: Notice, end: &OwnedFd, supervisor: Pid) -> ! {
    title::set("rwsgi: log", "rwsgi:log");
    // A signal to the process group or from the terminal must not lose the last lines.
    let signals = begin(inbox, counts, end, supervisor);
    let mut writer = Writer {
        counts,
        notice,
        failing: false,
        torn: ends_in_the_middle_of_a_line(),
    };
    while writer.wait(inbox, &signals) {
        if !writer.take(inbox) || getppid() != supervisor && writer.drain(inbox) {
            break;
        }
    }
    leave(0)
}

/// Closes everything else of the server.
fn begin(inbox: &OwnedFd, counts: &Counts, end: &OwnedFd, supervisor: Pid) -> SignalFd {
    let begun = || -> io::Result<SignalFd> {
        SigSet::all().thread_set_mask()?;
        // The signal for the supervisor's end is blocked and read.
        set_pdeathsig(Signal::SIGTERM)?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let signals = SignalFd::with_flags(&SigSet::from(Signal::SIGTERM), flags)?;
        let null = || {
            std::fs::OpenOptions::new()
                .read(true)
                .write(true)
                .open("/dev/null")
        };
        replace_standard(null()?, libc::STDIN_FILENO)?;
        replace_standard(null()?, libc::STDOUT_FILENO)?;
        open_output_anew();
        let kept = [
            inbox.as_raw_fd(),
            counts.as_fd().as_raw_fd(),
            end.as_raw_fd(),
            signals.as_fd().as_raw_fd(),
        ];
        close_all_but(&mut kept.clone());
        // The current folder would keep its file system from being unmounted.
        nix::unistd::chdir("/")?;
        Ok(signals)
    };
    match begun() {
        Ok(signals) if getppid() == supervisor => signals,
        // Without a supervisor there is nothing to write; without descriptors it cannot be written.
        _ => leave(71),
    }
}

/// Whether the file ends with a partial line, for instance because the disk was full.
fn ends_in_the_middle_of_a_line() -> bool {
    let Ok(mut file) = std::fs::File::open("/proc/self/fd/2") else {
        return false;
    };
    let is_file = file
        .metadata()
        .is_ok_and(|found| found.is_file() && found.len() > 0);
    let mut last = [0];
    is_file
        && file.seek(SeekFrom::End(-1)).is_ok()
        && file.read(&mut last).is_ok_and(|length| length == 1)
        && last != *b"\n"
}

struct Writer<'a> {
    counts: &'a Counts,
    notice: Notice,
    /// The last write failed.
    failing: bool,
    /// The last line was written in part.
    torn: bool,
}

impl Writer<'_> {
    /// Waits for an event. False when the descriptors are unusable.
    fn wait(&self, inbox: &OwnedFd, signals: &SignalFd) -> bool {
        let lost = if self.failing {
            PollFlags::empty()
        } else {
            PollFlags::POLLIN
        };
        let mut fds = [
            PollFd::new(inbox.as_fd(), PollFlags::POLLIN),
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.counts.as_fd(), lost),
        ];
        let time = if self.failing {
            timeout(RETRY)
        } else {
            PollTimeout::NONE
        };
        loop {
            match poll(&mut fds, time) {
                Ok(_) => {
                    // Whether the supervisor has ended is read from the parent process id.
                    while let Ok(Some(_)) = signals.read_signal() {}
                    return true;
                }
                Err(Errno::EINTR) => {}
                Err(_) => return false,
            }
        }
    }

    /// Writes the next entry, if there is one, and the report of lost lines. False when no further entry will come.
    fn take(&mut self, inbox: &OwnedFd) -> bool {
        let mut buffer = [0; MESSAGE];
        match recv(inbox.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
            Ok(0) => {
                self.write(b"");
                false
            }
            Ok(length) if buffer[..length] == *END => {
                self.write(b"");
                false
            }
            Ok(length) => {
                self.write(&buffer[..length]);
                true
            }
            Err(Errno::EAGAIN | Errno::EINTR) => {
                self.write(b"");
                true
            }
            Err(_) => false,
        }
    }

    /// Writes everything that waits. Always true.
    fn drain(&mut self, inbox: &OwnedFd) -> bool {
        let mut fds = [PollFd::new(inbox.as_fd(), PollFlags::POLLIN)];
        while poll(&mut fds, PollTimeout::ZERO) == Ok(1) && self.take(inbox) {}
        true
    }

    fn write(&mut self, entry: &[u8]) {
        let mut lost = self.counts.take();
        lost.torn |= self.torn;
        let report = if lost.is_nothing() || lost.lines == 0 && entry.is_empty() {
            String::new()
        } else {
            format_report(lost, self.notice)
        };
        let text = [report.as_bytes(), entry].concat();
        if text.is_empty() {
            (self.torn, self.failing) = (lost.torn, false);
            return;
        }
        let written = write_all(&text);
        self.failing = written < text.len();
        // An entry that is written completely and does not end with a line end is the first part of a long line.
        self.torn = match written {
            0 => lost.torn,
            _ => self.failing && !text[..written].ends_with(b"\n"),
        };
        if self.failing {
            let entry_bytes = written.saturating_sub(report.len());
            self.counts.add(Lost {
                lines: lines(&entry[entry_bytes..])
                    + if written < report.len() {
                        lost.lines
                    } else {
                        0
                    },
                torn: false,
            });
        }
    }
}

/// Writes to standard error, blocking; returns how many bytes were written.
fn write_all(text: &[u8]) -> usize {
    let mut written = 0;
    while written < text.len() {
        match nix::unistd::write(io::stderr(), &text[written..]) {
            Ok(length) if length > 0 => written += length,
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => {
                // Another process has made it nonblocking: retry after waiting for room.
                let stderr = io::stderr();
                let mut fds = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
                if poll(&mut fds, timeout(Duration::from_secs(1))) == Ok(0) {
                    break;
                }
            }
            Ok(_) | Err(_) => break,
        }
    }
    written
}
