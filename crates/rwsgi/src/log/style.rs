//! The format of a line: for a file, for systemd's journal, for a terminal, or as JSON.

use std::fmt::{self, Write};
use std::io::IsTerminal;
use std::sync::{OnceLock, RwLock};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// The variable in which systemd gives device and inode of the journal's socket, if standard error is connected to
/// it.
const JOURNAL: &str = "JOURNAL_STREAM";

/// What the lines of the log look like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines of text; their style depends on the destination.
    #[default]
    Text,
    /// A JSON object per line.
    Json,
}

/// The style of lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// With the time in UTC.
    Plain,
    /// For the journal, which adds the time itself and reads the severity from a prefix.
    Journal,
    /// Short, for a terminal.
    Terminal {
        /// In colours by severity.
        colours: bool,
    },
    /// A JSON object per line.
    Json {
        /// With the journal's severity prefix.
        journal: bool,
    },
}

/// The value of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    /// A number or a boolean in JSON.
    Number(String),
}

static STYLE: RwLock<Style> = RwLock::new(Style::Plain);

impl Style {
    /// Selects the style for the destination.
    pub(super) fn choose(format: LogFormat) {
        let journal = std::env::var(JOURNAL).is_ok_and(|named| is_journal(&named));
        let style = Self::fitting(format, journal, std::io::stderr().is_terminal(), &|name| {
            std::env::var(name).ok()
        });
        if matches!(style, Self::Terminal { .. }) {
            // Read now, while the files of the time zone are accessible.
            zone();
        }
        // No code panics while it holds the lock.
        if let Ok(mut place) = STYLE.write() {
            *place = style;
        }
    }

    fn fitting(
        format: LogFormat,
        journal: bool,
        terminal: bool,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Self {
        match format {
            LogFormat::Json => Self::Json { journal },
            LogFormat::Text if journal => Self::Journal,
            LogFormat::Text if terminal => Self::Terminal {
                colours: colours(variable),
            },
            LogFormat::Text => Self::Plain,
        }
    }

    /// The selected style.
    pub(super) fn now() -> Self {
        // It is written only while there is one thread, so a fork never copies it locked.
        STYLE.read().map_or(Self::Plain, |style| style.clone())
    }

    /// A line with its line end.
    pub(super) fn line(&self, level: Level, fields: &[(String, Value)], message: &str) -> String {
        let mut line = String::new();
        // Writing to a string does not fail.
        let _ = self.write_line(&mut line, level, fields, message);
        line
    }

    fn write_line(
        &self,
        line: &mut String,
        level: Level,
        fields: &[(String, Value)],
        message: &str,
    ) -> fmt::Result {
        match self {
            Self::Plain => write!(line, "{} {level}", time())?,
            Self::Journal => write!(line, "<{}>{level}", severity(level))?,
            Self::Terminal { colours } => {
                let now = Timestamp::now().to_zoned_datetime(zone().clone());
                let (on, off) = if *colours { colour(level) } else { ("", "") };
                write!(line, "{} {on}{level}{off}", now.strftime("%H:%M:%S"))?;
            }
            Self::Json { journal } => return write_json(line, *journal, level, fields, message),
        }
        for (name, value) in fields {
            match value {
                Value::Text(text) if is_plain(text) => write!(line, " {name}={text}")?,
                Value::Text(text) => write!(line, " {name}={text:?}")?,
                Value::Number(number) => write!(line, " {name}={number}")?,
            }
        }
        if !message.is_empty() {
            write!(line, " {}", one_line(message))?;
        }
        writeln!(line)
    }

    /// Several lines of text, unchanged.
    pub(super) fn text(&self, level: Level, text: &str) -> String {
        let mut lines = String::new();
        // Writing to a string does not fail.
        let _ = match self {
            Self::Plain | Self::Terminal { .. } => {
                writeln!(lines, "{}", text.trim_end_matches('\n'))
            }
            Self::Journal => text
                .trim_end_matches('\n')
                .lines()
                .try_for_each(|line| writeln!(lines, "<{}>{line}", severity(level))),
            Self::Json { journal } => write_json(
                &mut lines,
                *journal,
                level,
                &[],
                text.trim_end_matches('\n'),
            ),
        };
        lines
    }

    /// Text for people; `None` when a program reads the log.
    pub(super) fn greeting(&self, text: &str) -> Option<String> {
        (!matches!(self, Self::Json { .. })).then(|| self.text(Level::INFO, text))
    }
}

/// The time now, in UTC.
fn time() -> String {
    let mut text = String::new();
    // Neither writing to a string nor reading the time fails.
    let _ = SystemTime.format_time(&mut Writer::new(&mut text));
    text
}

fn zone() -> &'static TimeZone {
    static ZONE: OnceLock<TimeZone> = OnceLock::new();
    ZONE.get_or_init(TimeZone::system)
}

/// Whether standard error is still connected to the journal that the variable names.
fn is_journal(named: &str) -> bool {
    let numbers = named.split_once(':').and_then(|(device, inode)| {
        Some((device.parse::<u64>().ok()?, inode.parse::<u64>().ok()?))
    });
    numbers.is_some() && numbers == supervisor::sink::standard_error()
}

/// See no-color.org.
fn colours(variable: &dyn Fn(&str) -> Option<String>) -> bool {
    let unwanted = variable("NO_COLOR").is_some_and(|value| !value.is_empty());
    let unknown = variable("TERM").is_none_or(|value| value.is_empty() || value == "dumb");
    !unwanted && !unknown
}

/// The severities of syslog.
fn severity(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

fn colour(level: Level) -> (&'static str, &'static str) {
    let on = match level {
        Level::ERROR => "\x1b[31m",
        Level::WARN => "\x1b[33m",
        Level::INFO => "\x1b[32m",
        _ => "\x1b[34m",
    };
    (on, "\x1b[0m")
}

/// Escapes control characters, so that a message is one line and contains no terminal commands.
fn one_line(message: &str) -> String {
    let mut line = String::with_capacity(message.len());
    for char in message.chars() {
        if char.is_control() {
            line.extend(char.escape_default());
        } else {
            line.push(char);
        }
    }
    line
}

/// Whether it needs no quotes.
fn is_plain(text: &str) -> bool {
    !text.is_empty()
        && text
            .chars()
            .all(|char| char.is_ascii_graphic() && char != '"')
}

fn write_json(
    line: &mut String,
    journal: bool,
    level: Level,
    fields: &[(String, Value)],
    message: &str,
) -> fmt::Result {
    if journal {
        write!(line, "<{}>", severity(level))?;
    }
    write!(line, r#"{{"time":"{}","level":"{level}""#, time())?;
    for (name, value) in fields {
        match value {
            Value::Text(text) => write!(line, ",{}:{}", quoted(name), quoted(text))?,
            Value::Number(number) => write!(line, ",{}:{number}", quoted(name))?,
        }
    }
    writeln!(line, r#","message":{}}}"#, quoted(message))
}

fn quoted(text: &str) -> String {
    // Text can always be written as JSON.
    serde_json::to_string(text).unwrap_or_default()
}

/// Formats `tracing` events in the selected style.
#[derive(Debug)]
pub(super) struct Line;

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
        let mut fields = Fields::default();
        event.record(&mut fields);
        let (style, level) = (Style::now(), *event.metadata().level());
        writer.write_str(&if event.metadata().target() == wsgi::TRACEBACK {
            style.text(level, &fields.message)
        } else {
            style.line(level, &fields.named, &fields.message)
        })
    }
}

/// The fields of an event, and its message.
#[derive(Default)]
struct Fields {
    named: Vec<(String, Value)>,
    message: String,
}

impl Fields {
    fn add(&mut self, field: &Field, value: Value) {
        if let ("message", Value::Text(text)) = (field.name(), &value) {
            self.message.clone_from(text);
            return;
        }
        let name = field.name().trim_start_matches("r#").to_owned();
        self.named.push((name, value));
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, Value::Text(format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, Value::Text(value.to_owned()));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, Value::Number(value.to_string()));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, Value::Number(value.to_string()));
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.add(field, Value::Number(value.to_string()));
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.add(field, Value::Number(value.to_string()));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, Value::Number(value.to_string()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn text(value: &str) -> Value {
        Value::Text(value.to_owned())
    }

    fn fields() -> Vec<(String, Value)> {
        vec![
            ("child".to_owned(), Value::Number("3".to_owned())),
            ("cause".to_owned(), text("signal 9")),
        ]
    }

    #[test]
    fn a_line_has_its_fields_first_and_quotes_where_needed() {
        let kept = Kept::default();
        let writer = kept.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .event_format(Line)
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(child = 3, r#gen = 2, pid = 71, "ready");
            tracing::warn!(cause = %"signal 9 (SIGKILL)", path = "a\nb", empty = "", "died");
            tracing::error!("two\nlines\x1b[m");
            tracing::error!(target: wsgi::TRACEBACK, "Traceback:\n  one\n");
        });
        let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<&str> = text
            .lines()
            .map(|line| line.split_once("Z ").map_or(line, |(_, rest)| rest))
            .collect();
        assert_eq!(
            lines,
            [
                "INFO child=3 gen=2 pid=71 ready",
                r#"WARN cause="signal 9 (SIGKILL)" path="a\nb" empty="" died"#,
                r"ERROR two\nlines\u{1b}[m",
                "Traceback:",
                "  one",
            ]
        );
    }

    #[test]
    fn the_journal_gets_the_severity_of_every_line_and_no_time() {
        let style = Style::Journal;
        assert_eq!(
            style.line(Level::WARN, &fields(), "died"),
            "<4>WARN child=3 cause=\"signal 9\" died\n"
        );
        assert_eq!(
            style.text(Level::ERROR, "Traceback:\n  one\n"),
            "<3>Traceback:\n<3>  one\n"
        );
        let levels = [
            Level::ERROR,
            Level::WARN,
            Level::INFO,
            Level::DEBUG,
            Level::TRACE,
        ];
        assert_eq!(levels.map(severity), [3, 4, 6, 7, 7]);
    }

    #[test]
    fn a_terminal_gets_short_lines_and_colours_unless_it_should_not() {
        let line = Style::Terminal { colours: false }.line(Level::INFO, &fields(), "left");
        let (time, rest) = line.split_once(' ').unwrap();
        assert!(time.len() == 8 && time.split(':').all(|part| part.parse::<u8>().is_ok()));
        assert_eq!(rest, "INFO child=3 cause=\"signal 9\" left\n");
        let line = Style::Terminal { colours: true }.line(Level::ERROR, &[], "died");
        assert!(line.ends_with(" \x1b[31mERROR\x1b[0m died\n"), "{line:?}");
        for (environment, expected) in [
            (vec![("TERM", "xterm")], true),
            (vec![("TERM", "xterm"), ("NO_COLOR", "")], true),
            (vec![("TERM", "xterm"), ("NO_COLOR", "1")], false),
            (vec![("TERM", "dumb")], false),
            (vec![], false),
        ] {
            let variable = |name: &str| {
                let found = environment.iter().find(|(given, _)| *given == name);
                found.map(|(_, value)| (*value).to_owned())
            };
            assert_eq!(colours(&variable), expected, "{environment:?}");
        }
    }

    #[test]
    fn json_has_an_object_per_line_and_numbers_as_numbers() {
        let line = Style::Json { journal: false }.line(Level::INFO, &fields(), "a \"b\"\nc");
        let found: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(
            (&found["child"], &found["cause"]),
            (&3.into(), &"signal 9".into())
        );
        assert_eq!(
            (&found["level"], &found["message"]),
            (&"INFO".into(), &"a \"b\"\nc".into())
        );
        assert!(found["time"].as_str().unwrap().ends_with('Z'));
        assert!(line.ends_with("}\n") && !line.trim_end().contains('\n'));
        assert_eq!(Style::Json { journal: false }.greeting("rwsgi"), None);
        let line = Style::Json { journal: true }.text(Level::ERROR, "a\nb\n");
        assert!(line.starts_with("<3>{") && line.ends_with("\"message\":\"a\\nb\"}\n"));
    }

    #[test]
    fn the_destination_decides_the_style() {
        let nothing = |_: &str| None;
        let style = |format, journal, terminal| Style::fitting(format, journal, terminal, &nothing);
        assert_eq!(style(LogFormat::Text, false, false), Style::Plain);
        assert_eq!(style(LogFormat::Text, true, false), Style::Journal);
        assert_eq!(
            style(LogFormat::Text, false, true),
            Style::Terminal { colours: false }
        );
        assert_eq!(
            style(LogFormat::Json, true, false),
            Style::Json { journal: true }
        );
    }
}
