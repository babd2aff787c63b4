//! The server's own log: `2026-11-23T20:15:00.123456Z INFO child=3 gen=2 pid=71 ready`.
//!
//! A line for a change of state is an interface: its fields come first, its message last, and tests parse it.
//! `style` defines the format; [`supervisor::sink`] writes without blocking.

mod panic;
mod style;

use std::error::Error;
use std::fmt::Write;
use std::io;

use supervisor::sink;
use tracing::Level;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

pub use style::LogFormat;
use style::{Line, Style, Value};

/// The least severe level that is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum LogLevel {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

/// Opens the log. To be called first of all, with one thread and with the original rights; lines can be written
/// from then on, also in every process that is forked later.
pub(crate) fn open() {
    sink::open(notice);
    Style::choose(LogFormat::Text);
    panic::report();
}

/// Sets level and format, also for every process that is forked later.
pub(crate) fn start(level: LogLevel, format: LogFormat) {
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    Style::choose(format);
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(Out)
        // tracing would report it by `eprintln!`, which panics.
        .log_internal_errors(false)
        .event_format(Line)
        .finish();
    // Fails only for a second server in the same process, which logs in the same way.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

/// Whether the log goes to a terminal, and in colours.
pub(crate) fn terminal() -> Option<bool> {
    match Style::now() {
        Style::Terminal { colours } => Some(colours),
        _ => None,
    }
}

/// Writes a line at any log level.
pub(crate) fn always(fields: &[(&str, &str)], message: &str) {
    let fields = fields.iter().map(|(name, value)| {
        let value = Value::Text((*value).to_owned());
        ((*name).to_owned(), value)
    });
    let line = Style::now().line(Level::INFO, &fields.collect::<Vec<_>>(), message);
    sink::write(line.as_bytes());
}

/// Writes several lines of text for the operator.
pub(crate) fn greet(text: &str) {
    if let Some(text) = Style::now().greeting(text) {
        sink::write(text.as_bytes());
    }
}

/// Prints why a program ends, just before it does.
pub(crate) fn print_error(text: &str) {
    let text = Style::now().text(Level::ERROR, text);
    sink::write_last(text.as_bytes());
}

/// Waits until the log is written, with a time limit, before this process ends.
pub(crate) fn finish() {
    sink::finish();
}

/// The message about lost lines.
fn notice(lines: u64) -> String {
    let fields = [("lost".to_owned(), Value::Number(lines.to_string()))];
    Style::now().line(Level::WARN, &fields, "log lines could not be written")
}

/// An error and its causes in one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    format!("{error}{}", causes(error.source()))
}

/// The causes of an error, each after a colon.
pub(crate) fn causes(mut error: Option<&dyn Error>) -> String {
    let mut text = String::new();
    while let Some(cause) = error {
        // Writing to a string does not fail.
        let _ = write!(text, ": {cause}");
        error = cause.source();
    }
    text
}

/// Passes whole lines to the sink. It never fails: the sink counts lost lines.
#[derive(Clone, Copy, Debug)]
struct Out;

impl<'a> MakeWriter<'a> for Out {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        *self
    }
}

impl io::Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        sink::write(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
