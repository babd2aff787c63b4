//! The access log: one line for every request, whatever its end.
//!
//! The lines of a turn are collected and written by a thread of their own: a slow disk, or a pipe that nobody reads,
//! must not stop the thread on which every connection lives. What that thread cannot keep up with, or cannot write at all,
//! is lost, counted and told.

mod escape;
mod format;
mod record;
mod target;
mod writer;

use std::cell::RefCell;
use std::io;

use jiff::Timestamp;
use jiff::tz::TimeZone;

pub use format::{Format, FormatError};
pub(crate) use record::Record;
pub use target::Target;
use writer::Writer;

/// How much is collected at most before it is given to the writer.
const COLLECTED: usize = 32 * 1024;

/// Where the log goes, and what its lines look like.
#[derive(Clone, Debug)]
pub struct AccessLog {
    /// Where it goes.
    pub target: Target,
    /// What a line says.
    pub format: Format,
}

thread_local! {
    /// The thread's own, since tokio's hooks around sleeping have no other way to it.
    static LOG: RefCell<Option<Log>> = const { RefCell::new(None) };
}

struct Log {
    format: Format,
    zone: TimeZone,
    /// The second that was formatted last.
    second: (i64, String),
    lines: Vec<u8>,
    writer: Writer,
    /// The server ends: what is not answered by now is not its client's doing.
    ending: bool,
}

/// Opens the log on this thread.
pub(crate) fn open(settings: AccessLog) -> io::Result<()> {
    let log = Log {
        format: settings.format,
        zone: TimeZone::system(),
        second: (i64::MIN, String::new()),
        lines: Vec::new(),
        writer: Writer::start(settings.target)?,
        ending: false,
    };
    LOG.set(Some(log));
    Ok(())
}

/// Gives the writer what has been collected, before the runtime sleeps.
pub(crate) fn before_sleep() {
    with(Log::flush);
}

/// Has the file opened anew, which somebody has moved away.
pub(crate) fn reopen() {
    with(|log| {
        // What was served before the file was moved belongs into it.
        log.flush();
        log.writer.reopen();
    });
}

/// Notes that the server ends, and breaks off what is left.
pub(crate) fn end() {
    with(|log| log.ending = true);
}

/// Writes what is left, as far as somebody takes it.
pub(crate) fn close() {
    if let Some(mut log) = LOG.take() {
        log.flush();
        log.writer.finish();
    }
}

fn with(act: impl FnOnce(&mut Log)) {
    LOG.with_borrow_mut(|log| {
        if let Some(log) = log {
            act(log);
        }
    });
}

impl Log {
    fn add(&mut self, record: &Record) {
        let time = Time {
            zone: &self.zone,
            second: &mut self.second,
        };
        self.format.write(record, time, &mut self.lines);
        if self.lines.len() >= COLLECTED {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if !self.lines.is_empty() {
            self.writer.write(std::mem::take(&mut self.lines));
        }
    }
}

/// How a moment is written.
struct Time<'a> {
    zone: &'a TimeZone,
    second: &'a mut (i64, String),
}

impl Time<'_> {
    /// `[24/Nov/2026:16:00:00 +0000]`, made once a second.
    fn clf(&mut self, at: Timestamp) -> &str {
        if self.second.0 != at.as_second() {
            *self.second = (at.as_second(), self.strftime(at, "[%d/%b/%Y:%H:%M:%S %z]"));
        }
        &self.second.1
    }

    fn strftime(&self, at: Timestamp, format: &str) -> String {
        at.to_zoned_datetime(self.zone.clone())
            .strftime(format)
            .to_string()
    }
}
