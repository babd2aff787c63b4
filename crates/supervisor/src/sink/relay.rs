//! The process that writes for all others, where writing may wait: `rwsgi: log`.
//!
//! It has nothing of the server's but the socket that lines come over, the counts and standard error. It ends when nobody
//! is left who could send it lines, or when the supervisor has gone and everything that was sent is written. Should it be
//! killed, what waits in the socket is written by the next one.

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
use super::notice::{Notice, RETRY, lines, tell};
use super::target::{MESSAGE, Target, timeout};
use crate::sys::descriptors::{close_all_but, open_output_anew, replace_standard};
use crate::sys::fork::{Side, fork, leave};
use crate::sys::process::kill_now;
use crate::sys::title;

/// Told by the supervisor: nothing comes after this. No line begins with it.
const END: &[u8] = b"\0";

/// What the supervisor knows of it.
#[derive(Debug)]
pub(super) struct Relay {
    /// Where lines arrive. Kept open here, so that they wait there while no process takes them.
    inbox: OwnedFd,
    process: Mutex<Option<Process>>,
}

#[derive(Debug)]
struct Process {
    pid: Pid,
    /// Its end is the process's end.
    life: OwnedFd,
}

impl Relay {
    /// A relay that has not been started, and where to write to for it.
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

    /// Starts the process, the first or another one.
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

    /// Has it write what has been sent, and end.
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
            // What waits for a disk that does not answer is beyond being killed, and dies when the disk does answer.
            kill_now(pid);
        }
    }
}

/// Waits for the end of a pipe that nobody writes to. False at the deadline.
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

/// The process's life.
fn live(inbox: &OwnedFd, counts: &Counts, notice: Notice, end: &OwnedFd, supervisor: Pid) -> ! {
    title::set("rwsgi: log", "rwsgi:log");
    // Who stops the server by its group or its terminal does not mean to lose its last lines.
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

/// Lets go of everything that is the server's.
fn begin(inbox: &OwnedFd, counts: &Counts, end: &OwnedFd, supervisor: Pid) -> SignalFd {
    let begun = || -> io::Result<SignalFd> {
        SigSet::all().thread_set_mask()?;
        // The signal of the supervisor's end is only heard, as one that is blocked.
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
        // The folder may be one that somebody wants to unmount.
        nix::unistd::chdir("/")?;
        Ok(signals)
    };
    match begun() {
        Ok(signals) if getppid() == supervisor => signals,
        // Without a supervisor there is nothing to write; without descriptors, nothing to do it with.
        _ => leave(71),
    }
}

/// A disk may have been full when this file was written to last.
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
    /// The last attempt to write has failed.
    failing: bool,
    /// The last line was written in part.
    torn: bool,
}

impl Writer<'_> {
    /// Sleeps until there is something to do. False without descriptors to wait for.
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
                    // Whatever it says is seen in who the parent is.
                    while let Ok(Some(_)) = signals.read_signal() {}
                    return true;
                }
                Err(Errno::EINTR) => {}
                Err(_) => return false,
            }
        }
    }

    /// Writes the next entry, if there is one, and what was lost. False when no further entry will come.
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

    /// Writes everything that is there. Always true.
    fn drain(&mut self, inbox: &OwnedFd) -> bool {
        let mut fds = [PollFd::new(inbox.as_fd(), PollFlags::POLLIN)];
        while poll(&mut fds, PollTimeout::ZERO) == Ok(1) && self.take(inbox) {}
        true
    }

    fn write(&mut self, entry: &[u8]) {
        let mut lost = self.counts.take();
        lost.torn |= self.torn;
        let told = if lost.is_nothing() || lost.lines == 0 && entry.is_empty() {
            String::new()
        } else {
            tell(lost, self.notice)
        };
        let text = [told.as_bytes(), entry].concat();
        if text.is_empty() {
            (self.torn, self.failing) = (lost.torn, false);
            return;
        }
        let written = write_all(&text);
        self.failing = written < text.len();
        // What is written whole and does not end a line is the first part of a long one.
        self.torn = match written {
            0 => lost.torn,
            _ => self.failing && !text[..written].ends_with(b"\n"),
        };
        if self.failing {
            let behind = written.saturating_sub(told.len());
            self.counts.add(Lost {
                lines: lines(&entry[behind..]) + if written < told.len() { lost.lines } else { 0 },
                torn: false,
            });
        }
    }
}

/// Writes to standard error, however long that takes; returns how much was taken.
fn write_all(text: &[u8]) -> usize {
    let mut written = 0;
    while written < text.len() {
        match nix::unistd::write(io::stderr(), &text[written..]) {
            Ok(length) if length > 0 => written += length,
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => {
                // Somebody has made it nonblocking: a moment later there is room, or there was none at all.
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
