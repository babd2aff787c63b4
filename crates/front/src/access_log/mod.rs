//! The access log: one line for every request, however it ends.
//!
//! The lines of a turn of the runtime are collected and written by a separate thread, because a slow disk or a pipe
//! without a reader must not block the thread that serves all connections. Lines that this thread cannot write, or
//! not fast enough, are dropped, counted and reported.

mod escape;
mod format;
mod record;
mod target;
mod writer;

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::rc::Rc;

use jiff::Timestamp;
use jiff::tz::TimeZone;

pub use format::{Format, FormatError};
pub(crate) use record::Record;
pub use target::Target;
use writer::Writer;

/// Bytes of lines that are collected at most before they are passed to the writer.
const COLLECTED: usize = 32 * 1024;

/// Destination and format of the log.
#[derive(Clone, Debug)]
pub struct AccessLog {
    /// Where the lines are written.
    pub target: Target,
    /// The format of a line.
    pub format: Format,
}

/// The open log, which all connections share.
#[derive(Clone)]
pub(crate) struct Log(Rc<RefCell<Open>>);

struct Open {
    format: Format,
    zone: TimeZone,
    /// The last second that was formatted, and its text.
    second: (i64, String),
    lines: Vec<u8>,
    /// `None` after the log has been closed.
    writer: Option<Writer>,
    /// The server is shutting down: requests without a response by now were not left by their clients.
    ending: bool,
}

impl Log {
    /// Opens the log.
    pub(crate) fn open(settings: AccessLog) -> io::Result<Self> {
        Ok(Self(Rc::new(RefCell::new(Open {
            format: settings.format,
            zone: TimeZone::system(),
            second: (i64::MIN, String::new()),
            lines: Vec::new(),
            writer: Some(Writer::start(settings.target)?),
            ending: false,
        }))))
    }

    /// Passes the collected lines to the writer.
    pub(crate) fn flush(&self) {
        self.0.borrow_mut().flush();
    }

    /// Reopens the file, after log rotation has moved it away.
    pub(crate) fn reopen(&self) {
        let mut open = self.0.borrow_mut();
        // Requests served before the file was moved belong in the old file.
        open.flush();
        if let Some(writer) = &mut open.writer {
            writer.reopen();
        }
    }

    /// Notes that the server is shutting down, so that unfinished requests are logged with status 503.
    pub(crate) fn end(&self) {
        self.0.borrow_mut().ending = true;
    }

    /// Writes the remaining lines, with a time limit. Nothing may be added afterwards.
    pub(crate) fn close(&self) {
        let mut open = self.0.borrow_mut();
        open.flush();
        if let Some(writer) = open.writer.take() {
            drop(open);
            writer.finish();
        }
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").finish_non_exhaustive()
    }
}

impl Open {
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
        if !self.lines.is_empty()
            && let Some(writer) = &mut self.writer
        {
            writer.write(std::mem::take(&mut self.lines));
        }
    }
}

/// Formats the time of a request.
struct Time<'a> {
    zone: &'a TimeZone,
    second: &'a mut (i64, String),
}

impl Time<'_> {
    /// `[24/Nov/2026:16:00:00 +0000]`, formatted once per second.
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
