//! The thread that writes the access log.

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

/// Bytes of lines that may wait to be written.
const WAITING: usize = 4 * 1024 * 1024;
/// Bytes of stack: the thread only writes.
const STACK: usize = 128 * 1024;
/// How long a shutdown waits for the last lines to be written.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);
/// How often opening a FIFO without a reader is retried.
const RETRY: Duration = Duration::from_secs(1);

/// The handle to the thread.
#[derive(Debug)]
pub(super) struct Writer {
    portions: Sender<Vec<u8>>,
    shared: Arc<Shared>,
    /// The limit of waiting bytes.
    most: usize,
    /// Disconnected when the thread ends.
    ended: Receiver<()>,
}

/// State shared by the handle and the thread.
#[derive(Debug)]
struct Shared {
    /// Bytes of the lines that wait.
    waiting: AtomicUsize,
    waiting_lines: AtomicU64,
    /// Lines dropped since the last report.
    lost: AtomicU64,
    /// Lines are being dropped, and this has been reported.
    is_dropping: AtomicBool,
    reopen: AtomicBool,
    /// An eventfd that wakes the thread while it waits for a reader.
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
            is_dropping: AtomicBool::new(false),
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

    /// Queues lines for the thread, or drops them when too many bytes wait.
    pub(super) fn write(&mut self, portion: Vec<u8>) {
        let (length, count) = (portion.len(), lines(&portion));
        if self.shared.waiting.load(Ordering::Relaxed) + length > self.most {
            self.shared.lost.fetch_add(count, Ordering::Relaxed);
            if !self.shared.is_dropping.swap(true, Ordering::Relaxed) {
                warn!("the access log is not written fast enough: lines are lost");
            }
            return;
        }
        self.shared.waiting.fetch_add(length, Ordering::Relaxed);
        self.shared
            .waiting_lines
            .fetch_add(count, Ordering::Relaxed);
        // The thread runs as long as this handle exists.
        let _ = self.portions.send(portion);
    }

    /// Reopens the file.
    pub(super) fn reopen(&self) {
        self.shared.reopen.store(true, Ordering::Release);
        // An empty portion wakes the thread in `recv`, the eventfd wakes it in `poll`. The counter of the eventfd
        // cannot overflow here.
        let _ = self.portions.send(Vec::new());
        let _ = rustix::io::write(&self.shared.wake, &1_u64.to_ne_bytes());
    }

    /// Waits until all lines are written, or for [`SHUTDOWN_TIMEOUT`] at most.
    pub(super) fn finish(self) {
        drop(self.portions);
        // Nothing is sent over this channel: it is disconnected, or the wait times out.
        let _ = self.ended.recv_timeout(SHUTDOWN_TIMEOUT);
        let waiting = self.shared.waiting_lines.load(Ordering::Relaxed);
        let lost = self.shared.lost.load(Ordering::Relaxed) + waiting;
        if lost > 0 {
            warn!(lost, "lines of the access log could not be written");
        }
    }
}

/// The state of the thread.
struct Worker {
    target: Target,
    /// `None` while the target is a FIFO without a reader.
    opened: Option<Opened>,
    /// When opening was last attempted.
    tried: Instant,
    /// The last line was written only in part.
    torn: bool,
    /// Writing fails, and this has been reported.
    failing: bool,
    /// The thread has caught up once no more bytes than this wait.
    enough: usize,
    shared: Arc<Shared>,
}

/// The result of writing a portion.
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
                self.report_lost();
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
            // The old file stays in use when the new one cannot be opened.
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
            // The file was replaced while waiting: the rest goes to the new file, from the start of a line on.
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

    /// Writes until all is written, a write fails, or the log is to be reopened (`AGAIN`).
    fn write_out(&mut self, bytes: &[u8]) -> Written {
        let mut written = 0;
        let result = loop {
            if written == bytes.len() {
                break Ok(());
            }
            let Some(opened) = &self.opened else {
                break Err(Errno::NXIO);
            };
            // After a partial line, a line end comes first.
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

    /// Waits until there is room. True when the log is to be reopened instead.
    fn is_replaced_while_waiting(&self) -> bool {
        let Some(opened) = &self.opened else {
            return false;
        };
        let mut fds = [
            PollFd::from_borrowed_fd(opened.as_fd(), PollFlags::OUT),
            PollFd::from_borrowed_fd(self.shared.wake.as_fd(), PollFlags::IN),
        ];
        // `poll` fails only when interrupted; the next write then shows the state.
        let _ = poll(&mut fds, None);
        if fds[1].revents().is_empty() {
            return false;
        }
        // Resets the eventfd; its value does not matter.
        let _ = rustix::io::read(&self.shared.wake, &mut [0; 8]);
        self.shared.reopen.swap(false, Ordering::AcqRel)
    }

    fn report_lost(&self) {
        let lost = self.shared.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            warn!(lost, "the access log is written again: lines were lost");
        }
        self.shared.is_dropping.store(false, Ordering::Relaxed);
    }
}

/// The number of line ends in these bytes.
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
    fn an_existing_partial_line_is_ended_first() {
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
    fn many_small_portions_are_all_written() {
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
    fn a_full_pipe_loses_lines_and_does_not_block() {
        let (reader, target) = pipe();
        let mut writer = over(target, 2 << 20);
        // The thread holds one portion, which is larger than the pipe, and one more waits: all others are dropped.
        while writer.shared.lost.load(Ordering::Relaxed) < 10 << 20 {
            writer.write(vec![b'\n'; 1 << 20]);
        }
        drop(reader);
        writer.finish();
    }
}
