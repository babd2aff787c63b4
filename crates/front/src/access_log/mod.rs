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
use std::fmt;
use std::io;
use std::rc::Rc;

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

/// The open log, which all connections share.
#[derive(Clone)]
pub(crate) struct Log(Rc<RefCell<Open>>);

struct Open {
    format: Format,
    zone: TimeZone,
    /// The second that was formatted last.
    second: (i64, String),
    lines: Vec<u8>,
    /// There is none any more once the log has been closed.
    writer: Option<Writer>,
    /// The server ends: what is not answered by now is not its client's doing.
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

    /// Gives the writer what has been collected.
    pub(crate) fn flush(&self) {
        self.0.borrow_mut().flush();
    }

    /// Has the file opened anew, which somebody has moved away.
    pub(crate) fn reopen(&self) {
        let mut open = self.0.borrow_mut();
        // What was served before the file was moved belongs into it.
        open.flush();
        if let Some(writer) = &mut open.writer {
            writer.reopen();
        }
    }

    /// Notes that the server ends, and breaks off what is left.
    pub(crate) fn end(&self) {
        self.0.borrow_mut().ending = true;
    }

    /// Writes what is left, as far as somebody takes it. Nothing may be added after that.
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
