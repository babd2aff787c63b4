//! The thread that writes.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, TrySendError, channel, sync_channel};
use std::time::Duration;

use tracing::{error, warn};

use super::Target;

/// Portions of lines that may wait for the disk: a few MiB.
const WAITING: usize = 128;
/// It only writes.
const STACK: usize = 128 * 1024;
/// How long the end of the server waits for somebody to take the last lines.
const FAREWELL: Duration = Duration::from_secs(1);

/// The other end of the thread.
#[derive(Debug)]
pub(super) struct Writer {
    portions: SyncSender<Vec<u8>>,
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

    fn over(target: Target, file: Box<dyn Write + Send>, waiting: usize) -> io::Result<Self> {
        let (portions, incoming) = sync_channel(waiting);
        let (living, ended) = channel();
        let reopen = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&reopen);
        std::thread::Builder::new()
            .name("rwsgi-log".to_owned())
            .stack_size(STACK)
            .spawn(move || work(&target, file, &incoming, &asked, &living))?;
        Ok(Self {
            portions,
            reopen,
            lost: 0,
            ended,
        })
    }

    /// Gives lines to the thread, which takes them now or never.
    pub(super) fn write(&mut self, lines: Vec<u8>) {
        match self.portions.try_send(lines) {
            Ok(()) if self.lost > 0 => {
                warn!(
                    lines = self.lost,
                    "the access log could not be written fast enough: lost"
                );
                self.lost = 0;
            }
            Ok(()) => {}
            Err(TrySendError::Full(lines) | TrySendError::Disconnected(lines)) => {
                self.lost += lines.iter().filter(|&&byte| byte == b'\n').count();
            }
        }
    }

    /// Has the file opened anew.
    pub(super) fn reopen(&self) {
        self.reopen.store(true, Ordering::Release);
        // Only wakes the thread; one that has much to write sees the wish anyway.
        let _ = self.portions.try_send(Vec::new());
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
    fn a_pipe_that_nobody_reads_loses_lines_and_stops_nobody() {
        let (reader, pipe) = io::pipe().unwrap();
        let mut writer = Writer::over(Target::Stdout, Box::new(pipe), 2).unwrap();
        // The thread takes one portion, which is too large for the pipe, and two wait: all others are lost.
        while writer.lost < 10 << 20 {
            writer.write(vec![b'\n'; 1 << 20]);
        }
        drop(reader);
        writer.finish();
    }
}
