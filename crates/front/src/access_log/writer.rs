//! The thread that writes.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::io::Errno;
use tracing::{error, warn};

use super::target::{Opened, Target};

/// Bytes of lines that may wait for the disk.
const WAITING: usize = 4 * 1024 * 1024;
/// It only writes.
const STACK: usize = 128 * 1024;
/// How long the end of the server waits for somebody to take the last lines.
const FAREWELL: Duration = Duration::from_secs(1);
/// How often a FIFO is looked at that nobody reads.
const RETRY: Duration = Duration::from_secs(1);

/// The other end of the thread.
#[derive(Debug)]
pub(super) struct Writer {
    portions: Sender<Vec<u8>>,
    shared: Arc<Shared>,
    /// Bytes that may wait.
    most: usize,
    /// Ends with the thread.
    ended: Receiver<()>,
}

/// What both ends look at.
#[derive(Debug)]
struct Shared {
    /// Bytes and lines that wait.
    waiting: AtomicUsize,
    waiting_lines: AtomicU64,
    /// Lines that were lost since somebody told.
    lost: AtomicU64,
    /// There are more lines than can be written, and that has been told.
    behind: AtomicBool,
    reopen: AtomicBool,
    /// Wakes the thread while it waits for a reader.
    wake: OwnedFd,
}

impl Writer {
    pub(super) fn start(target: Target) -> io::Result<Self> {
        let opened = match Opened::open(&target) {
            Ok(opened) => Some(opened),
            Err(error) if target.is_unread(&error) => None,
            Err(error) => return Err(error),
        };
        Self::over(target, opened, WAITING)
    }

    fn over(target: Target, opened: Option<Opened>, most: usize) -> io::Result<Self> {
        let (portions, incoming) = channel();
        let (living, ended) = channel();
        let shared = Arc::new(Shared {
            waiting: AtomicUsize::new(0),
            waiting_lines: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            behind: AtomicBool::new(false),
            reopen: AtomicBool::new(false),
            wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        });
        let mut worker = Worker {
            target,
            torn: opened.as_ref().is_some_and(|opened| opened.torn),
            opened,
            tried: Instant::now(),
            failing: false,
            enough: most / 2,
            shared: Arc::clone(&shared),
        };
        std::thread::Builder::new()
            .name("rwsgi-log".to_owned())
            .stack_size(STACK)
            .spawn(move || {
                let _living: Sender<()> = living;
                worker.work(&incoming);
            })?;
        Ok(Self {
            portions,
            shared,
            most,
            ended,
        })
    }

    /// Gives lines to the thread, unless too much waits for it.
    pub(super) fn write(&mut self, portion: Vec<u8>) {
        let (length, count) = (portion.len(), lines(&portion));
        if self.shared.waiting.load(Ordering::Relaxed) + length > self.most {
            self.shared.lost.fetch_add(count, Ordering::Relaxed);
            if !self.shared.behind.swap(true, Ordering::Relaxed) {
                warn!("the access log is not written fast enough: lines are lost");
            }
            return;
        }
        self.shared.waiting.fetch_add(length, Ordering::Relaxed);
        self.shared
            .waiting_lines
            .fetch_add(count, Ordering::Relaxed);
        // The thread lives as long as this end does.
        let _ = self.portions.send(portion);
    }

    /// Has the file opened anew.
    pub(super) fn reopen(&self) {
        self.shared.reopen.store(true, Ordering::Release);
        // Only wakes the thread, whatever it waits for. The kernel's number is far from being full.
        let _ = self.portions.send(Vec::new());
        let _ = rustix::io::write(&self.shared.wake, &1_u64.to_ne_bytes());
    }

    /// Waits until everything is written, or nobody takes it.
    pub(super) fn finish(self) {
        drop(self.portions);
        // The channel carries nothing: it ends, or the time does.
        let _ = self.ended.recv_timeout(FAREWELL);
        let waiting = self.shared.waiting_lines.load(Ordering::Relaxed);
        let lost = self.shared.lost.load(Ordering::Relaxed) + waiting;
        if lost > 0 {
            warn!(lost, "lines of the access log could not be written");
        }
    }
}

/// What the thread knows.
struct Worker {
    target: Target,
    /// Nothing while nobody reads the FIFO.
    opened: Option<Opened>,
    /// When it was tried to open it last.
    tried: Instant,
    /// The last line was written in part.
    torn: bool,
    /// Lines could not be written, and that has been told.
    failing: bool,
    /// With so few bytes waiting it has caught up.
    enough: usize,
    shared: Arc<Shared>,
}

/// What became of a portion.
struct Written {
    bytes: usize,
    result: Result<(), Errno>,
}

impl Worker {
    fn work(&mut self, incoming: &Receiver<Vec<u8>>) {
        while let Ok(portion) = incoming.recv() {
            if self.shared.reopen.swap(false, Ordering::AcqRel) {
                self.reopen();
            }
            if !portion.is_empty() {
                self.write(&portion);
            }
            let (length, count) = (portion.len(), lines(&portion));
            let left = self.shared.waiting.fetch_sub(length, Ordering::Relaxed) - length;
            self.shared
                .waiting_lines
                .fetch_sub(count, Ordering::Relaxed);
            if !self.failing && left <= self.enough {
                self.tell_lost();
            }
        }
    }

    fn reopen(&mut self) {
        self.tried = Instant::now();
        match Opened::open(&self.target) {
            Ok(opened) => {
                self.torn = opened.torn;
                self.opened = Some(opened);
            }
            Err(error) if self.target.is_unread(&error) => self.opened = None,
            // What is open is better than nothing.
            Err(error) => {
                error!(log = %self.target, %error, "the access log cannot be opened anew");
            }
        }
    }

    fn write(&mut self, portion: &[u8]) {
        if self.opened.is_none() && (!self.failing || self.tried.elapsed() >= RETRY) {
            self.reopen();
        }
        let mut at = 0;
        let result = loop {
            let Written { bytes, result } = self.write_out(&portion[at..]);
            if bytes > 0 {
                self.torn = portion[at + bytes - 1] != b'\n';
            }
            at += bytes;
            if result != Err(Errno::AGAIN) {
                break result;
            }
            // What was waited for has been replaced: the rest, from the start of a line on, goes to its successor.
            self.reopen();
            at = memchr::memrchr(b'\n', &portion[..at]).map_or(0, |end| end + 1);
        };
        match result {
            Ok(()) => self.failing = false,
            Err(errno) => {
                let lost = lines(&portion[at..]);
                self.shared.lost.fetch_add(lost, Ordering::Relaxed);
                if !self.failing {
                    let error = io::Error::from(errno);
                    error!(log = %self.target, %error, "the access log cannot be written");
                }
                self.failing = true;
            }
        }
    }

    /// Writes until it is done, fails, or is to be opened anew, which is `AGAIN`.
    fn write_out(&mut self, bytes: &[u8]) -> Written {
        let mut written = 0;
        let result = loop {
            if written == bytes.len() {
                break Ok(());
            }
            let Some(opened) = &self.opened else {
                break Err(Errno::NXIO);
            };
            // What follows half a line begins on a line of its own.
            let next = if self.torn { b"\n" } else { &bytes[written..] };
            match rustix::io::write(opened, next) {
                Ok(0) => break Err(Errno::IO),
                Ok(_) if self.torn => self.torn = false,
                Ok(length) => written += length,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    if self.is_replaced_while_waiting() {
                        break Err(Errno::AGAIN);
                    }
                }
                Err(errno) => break Err(errno),
            }
        };
        Written {
            bytes: written,
            result,
        }
    }

    /// Waits until there is room. True when the log is to be opened anew instead.
    fn is_replaced_while_waiting(&self) -> bool {
        let Some(opened) = &self.opened else {
            return false;
        };
        let mut fds = [
            PollFd::from_borrowed_fd(opened.as_fd(), PollFlags::OUT),
            PollFd::from_borrowed_fd(self.shared.wake.as_fd(), PollFlags::IN),
        ];
        // It fails only when it is interrupted, and then the next attempt to write tells.
        let _ = poll(&mut fds, None);
        if fds[1].revents().is_empty() {
            return false;
        }
        // Whatever the number is: it is zero afterwards.
        let _ = rustix::io::read(&self.shared.wake, &mut [0; 8]);
        self.shared.reopen.swap(false, Ordering::AcqRel)
    }

    fn tell_lost(&self) {
        let lost = self.shared.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            warn!(lost, "the access log is written again: lines were lost");
        }
        self.shared.behind.store(false, Ordering::Relaxed);
    }
}

/// How many lines end in these bytes.
fn lines(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::path::Path;

    fn file(path: &Path) -> Target {
        Target::File(path.to_owned())
    }

    fn pipe() -> (io::PipeReader, Target) {
        let (reader, writer) = io::pipe().unwrap();
        let target = Target::Open {
            name: "-".to_owned(),
            descriptor: Arc::new(writer.into()),
        };
        (reader, target)
    }

    fn over(target: Target, most: usize) -> Writer {
        let opened = Opened::open(&target).unwrap();
        Writer::over(target, Some(opened), most).unwrap()
    }

    #[test]
    fn a_file_is_opened_anew_when_asked() {
        let folder = tempfile::tempdir().unwrap();
        let (path, moved) = (folder.path().join("log"), folder.path().join("log.1"));
        let mut writer = Writer::start(file(&path)).unwrap();
        writer.write(b"one\n".to_vec());
        while std::fs::read(&path).unwrap() != b"one\n" {
            std::thread::yield_now();
        }
        std::fs::rename(&path, &moved).unwrap();
        writer.reopen();
        writer.write(b"two\n".to_vec());
        writer.finish();
        assert_eq!(std::fs::read(moved).unwrap(), b"one\n");
        assert_eq!(std::fs::read(path).unwrap(), b"two\n");
    }

    #[test]
    fn half_a_line_that_is_there_already_is_ended_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        for (before, after) in [
            ("half", "half\none\ntwo\n"),
            ("whole\n", "whole\none\ntwo\n"),
            ("", "one\ntwo\n"),
        ] {
            std::fs::write(&path, before).unwrap();
            let mut writer = Writer::start(file(&path)).unwrap();
            writer.write(b"one\n".to_vec());
            writer.write(b"two\n".to_vec());
            writer.finish();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), after);
        }
    }

    #[test]
    fn many_small_portions_are_not_too_many() {
        let (mut reader, target) = pipe();
        let mut writer = over(target, WAITING);
        for _ in 0..100_000 {
            writer.write(b"\n".to_vec());
        }
        let reading = std::thread::scope(|scope| {
            let read = || reader.read_to_end(&mut Vec::new());
            let reading = std::thread::Builder::new()
                .spawn_scoped(scope, read)
                .unwrap();
            writer.finish();
            reading.join().unwrap().unwrap()
        });
        assert_eq!(reading, 100_000);
    }

    #[test]
    fn a_pipe_that_nobody_reads_loses_lines_and_stops_nobody() {
        let (reader, target) = pipe();
        let mut writer = over(target, 2 << 20);
        // The thread has one portion in hand, which is too large for the pipe, and one waits: all others are lost.
        while writer.shared.lost.load(Ordering::Relaxed) < 10 << 20 {
            writer.write(vec![b'\n'; 1 << 20]);
        }
        drop(reader);
        writer.finish();
    }
}
