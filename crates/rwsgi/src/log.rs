//! Log lines: `2026-11-23T20:15:00.123456Z INFO child=3 gen=2 pid=71 ready`.
//!
//! A line for a change of state is an interface: its fields come first, its message last, and tests read it.

use std::error::Error;
use std::fmt::{self, Write};
use std::io;

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::options::LogLevel;

/// Logs to standard error from now on, also in every process that is forked later.
pub(crate) fn start(level: LogLevel) {
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(io::stderr)
        .event_format(Line)
        .finish();
    // Only a second server in the same process would find one set, and it logs the same way.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

/// Writes a line whatever the level is: `fields` are written as they are.
pub(crate) fn always(fields: fmt::Arguments<'_>, message: &str) {
    let mut line = String::new();
    // Neither writing to a string nor telling the time fails, and nobody can be told that standard error is closed.
    let _ = SystemTime.format_time(&mut Writer::new(&mut line));
    let _ = writeln!(line, " INFO {fields} {message}");
    let _ = io::Write::write_all(&mut io::stderr(), line.as_bytes());
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

struct Line;

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        SystemTime.format_time(&mut writer)?;
        write!(writer, " {}", event.metadata().level())?;
        let mut fields = Fields::default();
        event.record(&mut fields);
        writeln!(writer, "{}{}", fields.named, fields.message)
    }
}

/// The fields of an event, and its message.
#[derive(Default)]
struct Fields {
    named: String,
    message: String,
}

impl Fields {
    fn add(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            // One event is one line, whatever a message quotes.
            self.message = format!(" {}", value.replace('\n', "\\n"));
            return;
        }
        let name = field.name().trim_start_matches("r#");
        let plain = !value.is_empty() && value.chars().all(|c| c.is_ascii_graphic() && c != '"');
        // Writing to a string does not fail.
        let _ = if plain {
            write!(self.named, " {name}={value}")
        } else {
            write!(self.named, " {name}={value:?}")
        };
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_has_its_fields_first_and_quotes_what_is_not_plain() {
        let kept = Kept::default();
        let writer = kept.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .event_format(Line)
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(child = 3, r#gen = 2, pid = 71, "ready");
            tracing::warn!(cause = %"signal 9 (SIGKILL)", path = "a\nb", empty = "", "died");
        });
        let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<&str> = text
            .lines()
            .map(|line| line.split_once(' ').unwrap().1)
            .collect();
        assert_eq!(
            lines,
            [
                "INFO child=3 gen=2 pid=71 ready",
                r#"WARN cause="signal 9 (SIGKILL)" path="a\nb" empty="" died"#,
            ]
        );
    }
}
