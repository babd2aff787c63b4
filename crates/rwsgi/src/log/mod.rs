//! The server's own log: `2026-11-23T20:15:00.123456Z INFO child=3 gen=2 pid=71 ready`.
//!
//! A line for a change of state is an interface: its fields come first, its message last, and tests read it. How a line
//! looks is decided in `style`; [`supervisor::sink`] writes it without waiting.

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

/// Opens what lines are written to. To be called first of all, with one thread and with the rights of the start; lines
/// can be written from then on, also in every process that is forked later.
pub(crate) fn open() {
    sink::open(notice);
    Style::choose(LogFormat::Text);
    panic::report();
}

/// Logs what is at least so severe from now on, in every process that is forked later.
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
        // It would be told by `eprintln!`, which panics.
        .log_internal_errors(false)
        .event_format(Line)
        .finish();
    // Only a second server in the same process would find one set, and it logs the same way.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

/// Lines go to a terminal, and whether in colours.
pub(crate) fn terminal() -> Option<bool> {
    match Style::now() {
        Style::Terminal { colours } => Some(colours),
        _ => None,
    }
}

/// Writes a line whatever the level is.
pub(crate) fn always(fields: &[(&str, &str)], message: &str) {
    let fields = fields.iter().map(|(name, value)| {
        let value = Value::Text((*value).to_owned());
        ((*name).to_owned(), value)
    });
    let line = Style::now().line(Level::INFO, &fields.collect::<Vec<_>>(), message);
    sink::write(line.as_bytes());
}

/// Writes text of several lines for people.
pub(crate) fn greet(text: &str) {
    if let Some(text) = Style::now().greeting(text) {
        sink::write(text.as_bytes());
    }
}

/// Says why a program ends, just before it does.
pub(crate) fn complain(text: &str) {
    let text = Style::now().text(Level::ERROR, text);
    sink::write_last(text.as_bytes());
}

/// Has everything written before this process ends, as far as somebody takes it in time.
pub(crate) fn finish() {
    sink::finish();
}

/// What is said of lines that were lost.
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

/// Passes whole lines on. It never fails: what becomes of a line is the sink's affair.
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
