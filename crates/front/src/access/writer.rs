//! The thread that writes.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use tracing::{error, warn};

use super::Target;

/// Bytes of lines that may wait for the disk.
const WAITING: usize = 4 * 1024 * 1024;
/// It only writes.
const STACK: usize = 128 * 1024;
/// How long the end of the server waits for somebody to take the last lines.
const FAREWELL: Duration = Duration::from_secs(1);

/// The other end of the thread.
#[derive(Debug)]
pub(super) struct Writer {
    portions: Sender<Vec<u8>>,
    /// Bytes that wait, and how many may.
    waiting: Arc<AtomicUsize>,
    most: usize,
    reopen: Arc<AtomicBool>,
    /// Lines that were lost since the thread last took some.
    lost: usize,
    /// Ends with the thread.
    ended: Receiver<()>,
}

/// Opens the log at its end.
pub(super) fn open(target: &Target) -> io::Result<Box<dyn Write + Send>> {
    match target {
        Target::Stdout => Ok(Box::new(io::stdout())),
        Target::File(path) => {
            let file: File = OpenOptions::new()
                .append(true)
                .create(true)
                .mode(0o640)
                .open(path)?;
            Ok(Box::new(file))
        }
    }
}

impl Writer {
    pub(super) fn start(target: Target) -> io::Result<Self> {
        let file = open(&target)?;
        Self::over(target, file, WAITING)
    }

    fn over(target: Target, file: Box<dyn Write + Send>, most: usize) -> io::Result<Self> {
        let (portions, incoming) = channel();
        let (living, ended) = channel();
        let reopen = Arc::new(AtomicBool::new(false));
        let waiting = Arc::new(AtomicUsize::new(0));
        let (asked, written) = (Arc::clone(&reopen), Arc::clone(&waiting));
        std::thread::Builder::new()
            .name("rwsgi-log".to_owned())
            .stack_size(STACK)
            .spawn(move || work(&target, file, &incoming, &written, &asked, &living))?;
        Ok(Self {
            portions,
            waiting,
            most,
            reopen,
            lost: 0,
            ended,
        })
    }

    /// Gives lines to the thread, unless too much waits for it.
    pub(super) fn write(&mut self, lines: Vec<u8>) {
        let length = lines.len();
        let fits = self.waiting.load(Ordering::Relaxed) + length <= self.most;
        if !fits {
            self.lost += lines.iter().filter(|&&byte| byte == b'\n').count();
            return;
        }
        self.waiting.fetch_add(length, Ordering::Relaxed);
        // The thread lives as long as this end does.
        let _ = self.portions.send(lines);
        if self.lost > 0 {
            warn!(
                lines = self.lost,
                "the access log could not be written fast enough: lost"
            );
            self.lost = 0;
        }
    }

    /// Has the file opened anew.
    pub(super) fn reopen(&self) {
        self.reopen.store(true, Ordering::Release);
        // Only wakes the thread.
        let _ = self.portions.send(Vec::new());
    }

    /// Waits until everything is written, or nobody takes it.
    pub(super) fn finish(self) {
        drop(self.portions);
        // The channel carries nothing: it ends, or the time does.
        let _ = self.ended.recv_timeout(FAREWELL);
    }
}

fn work(
    target: &Target,
    mut file: Box<dyn Write + Send>,
    incoming: &Receiver<Vec<u8>>,
    waiting: &AtomicUsize,
    reopen: &AtomicBool,
    _living: &Sender<()>,
) {
    let mut failing = false;
    while let Ok(lines) = incoming.recv() {
        if reopen.swap(false, Ordering::AcqRel) {
            match open(target) {
                Ok(new) => file = new,
                Err(error) => error!(%error, "the access log cannot be opened anew"),
            }
        }
        let written = file.write_all(&lines).and_then(|()| file.flush());
        if let Err(error) = &written
            && !failing
        {
            error!(%error, "the access log cannot be written");
        }
        failing = written.is_err();
        waiting.fetch_sub(lines.len(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_opened_anew_when_asked() {
        let folder = tempfile::tempdir().unwrap();
        let (path, moved) = (folder.path().join("log"), folder.path().join("log.1"));
        let mut writer = Writer::start(Target::File(path.clone())).unwrap();
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
    fn many_small_portions_are_not_too_many() {
        let (mut reader, pipe) = io::pipe().unwrap();
        let mut writer = Writer::over(Target::Stdout, Box::new(pipe), WAITING).unwrap();
        for _ in 0..100_000 {
            writer.write(b"\n".to_vec());
        }
        let reading = std::thread::scope(|scope| {
            let read = || io::Read::read_to_end(&mut reader, &mut Vec::new());
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
        let (reader, pipe) = io::pipe().unwrap();
        let mut writer = Writer::over(Target::Stdout, Box::new(pipe), 2 << 20).unwrap();
        // The thread has one portion in hand, which is too large for the pipe, and one waits: all others are lost.
        while writer.lost < 10 << 20 {
            writer.write(vec![b'\n'; 1 << 20]);
        }
        drop(reader);
        writer.finish();
    }
}
