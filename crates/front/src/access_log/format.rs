//! The format of a line: `LogFormat` of Apache's mod_log_config, or a JSON object.

use std::fmt;
use std::io::Write;

use http::HeaderName;

use super::record::{Record, RequestLine};
use super::{Time, escape};
use crate::http::parse::{Target, split_target};

const COMMON: &str = r#"%h %l %u %t "%r" %>s %b"#;
const COMBINED: &str = r#"%h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-Agent}i""#;

/// The request fields in a JSON line, with their keys.
const JSON_FIELDS: [(&str, HeaderName); 3] = [
    ("host", http::header::HOST),
    ("referer", http::header::REFERER),
    ("user_agent", http::header::USER_AGENT),
];

/// The format of a line. The default is an empty line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format {
    shape: Shape,
    /// The request fields and response fields that the line contains.
    pub(super) request_fields: Vec<HeaderName>,
    pub(super) response_fields: Vec<HeaderName>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Shape {
    Text(Vec<Item>),
    Json,
}

/// A part of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Item {
    Literal(String),
    /// `%l` and `%u`: the client's identity, which this server never determines.
    Unknown,
    Remote,
    /// `%t`, or `%{strftime}t`.
    Time(Option<String>),
    RequestLine,
    Method,
    Path,
    Query,
    Protocol,
    Status,
    /// The status with a colour for terminals: green, yellow for client errors, red for server errors.
    ColouredStatus,
    /// `%b`: `-` for none.
    BytesOrNone,
    Bytes,
    Seconds,
    Millis,
    Micros,
    RequestField(HeaderName),
    ResponseField(HeaderName),
    ServerPort,
    Pid,
}

/// A format string that is not valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormatError {
    directive: String,
    place: usize,
}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { directive, place } = self;
        write!(
            f,
            "has no meaning from character {place} on: `{directive}`; there are %h %a %l %u %t %{{strftime}}t %r %m %U %q \
             %H %s %>s %b %B %T %{{s}}T %{{ms}}T %{{us}}T %D %{{Field}}i %{{Field}}o %p %P and %%"
        )
    }
}

impl std::error::Error for FormatError {}

impl Default for Format {
    fn default() -> Self {
        Self::text(Vec::new())
    }
}

impl Format {
    /// Reads `common`, `combined`, `json`, or the directives of Apache's `LogFormat`.
    ///
    /// # Errors
    /// An unknown directive, or one whose meaning is ambiguous.
    pub fn parse(text: &str) -> Result<Self, FormatError> {
        let text = match text {
            "json" => return Ok(Self::json()),
            "common" => COMMON,
            "combined" => COMBINED,
            text => text,
        };
        let (mut items, mut literal) = (Vec::new(), String::new());
        let mut rest = text;
        while let Some(char) = rest.chars().next() {
            let (item, after) = match char {
                '%' => directive(rest).ok_or_else(|| FormatError {
                    directive: rest.to_owned(),
                    place: text[..text.len() - rest.len()].chars().count() + 1,
                })?,
                '\\' => escaped(rest),
                char => (Item::Literal(char.to_string()), &rest[char.len_utf8()..]),
            };
            rest = after;
            match item {
                Item::Literal(more) => literal += &more,
                item => {
                    if !literal.is_empty() {
                        items.push(Item::Literal(std::mem::take(&mut literal)));
                    }
                    items.push(item);
                }
            }
        }
        items.push(Item::Literal(literal + "\n"));
        Ok(Self::text(items))
    }

    /// A short line for development: local time, method, path, status and duration.
    #[must_use]
    pub fn short(colours: bool) -> Self {
        let literal = |text: &str| Item::Literal(text.to_owned());
        Self::text(vec![
            Item::Time(Some("%H:%M:%S".to_owned())),
            literal(" "),
            Item::Method,
            literal(" "),
            Item::Path,
            Item::Query,
            literal(" "),
            if colours {
                Item::ColouredStatus
            } else {
                Item::Status
            },
            literal(" "),
            Item::Millis,
            literal(" ms\n"),
        ])
    }

    fn json() -> Self {
        let fields = JSON_FIELDS.map(|(_, name)| name);
        Self {
            shape: Shape::Json,
            request_fields: fields.to_vec(),
            response_fields: Vec::new(),
        }
    }

    fn text(items: Vec<Item>) -> Self {
        let (mut request_fields, mut response_fields) = (Vec::new(), Vec::new());
        for item in &items {
            match item {
                Item::RequestField(name) => request_fields.push(name.clone()),
                Item::ResponseField(name) => response_fields.push(name.clone()),
                _ => {}
            }
        }
        Self {
            shape: Shape::Text(items),
            request_fields,
            response_fields,
        }
    }

    /// Appends the line of a request to `out`.
    pub(super) fn write(&self, record: &Record, mut time: Time<'_>, out: &mut Vec<u8>) {
        match &self.shape {
            Shape::Json => json(record, out),
            Shape::Text(items) => {
                for item in items {
                    item.write(record, &mut time, out);
                }
            }
        }
    }
}

/// The character that a backslash escape in a `LogFormat` stands for.
fn escaped(text: &str) -> (Item, &str) {
    let mut chars = text.chars().skip(1);
    let (escape, length) = match chars.next() {
        Some('n') => ("\n".to_owned(), 2),
        Some('t') => ("\t".to_owned(), 2),
        Some(char) => (char.to_string(), 1 + char.len_utf8()),
        None => ("\\".to_owned(), 1),
    };
    (Item::Literal(escape), &text[length..])
}

/// Splits off the directive at the start of the text, which begins with `%`.
fn directive(text: &str) -> Option<(Item, &str)> {
    let mut rest = &text[1..];
    let mut argument = None;
    if let Some(after) = rest.strip_prefix('{') {
        let (inside, after) = after.split_once('}')?;
        (argument, rest) = (Some(inside), after);
    }
    // `<` and `>` select the first or the last of internal redirects, which do not exist here.
    if let Some(after) = rest.strip_prefix(['>', '<']) {
        rest = after;
    }
    let letter = rest.chars().next()?;
    let after = &rest[letter.len_utf8()..];
    let field = |name: &str| HeaderName::from_bytes(name.as_bytes()).ok();
    let item = match (letter, argument) {
        ('%', None) => Item::Literal("%".to_owned()),
        ('h' | 'a', None) => Item::Remote,
        ('l' | 'u', None) => Item::Unknown,
        ('t', None) => Item::Time(None),
        ('t', Some(format)) => Item::Time(Some(strftime(format)?)),
        ('r', None) => Item::RequestLine,
        ('m', None) => Item::Method,
        ('U', None) => Item::Path,
        ('q', None) => Item::Query,
        ('H', None) => Item::Protocol,
        ('s', None) => Item::Status,
        ('b', None) => Item::BytesOrNone,
        ('B', None) => Item::Bytes,
        ('T', None | Some("s")) => Item::Seconds,
        ('T', Some("ms")) => Item::Millis,
        ('T', Some("us")) | ('D', None) => Item::Micros,
        ('i', Some(name)) => Item::RequestField(field(name)?),
        ('o', Some(name)) => Item::ResponseField(field(name)?),
        ('p', None) => Item::ServerPort,
        ('P', None) => Item::Pid,
        _ => return None,
    };
    Some((item, after))
}

/// Checks that jiff can write this strftime format.
fn strftime(format: &str) -> Option<String> {
    let zoned = jiff::Timestamp::UNIX_EPOCH.to_zoned_datetime(jiff::tz::TimeZone::UTC);
    let mut shown = String::new();
    let writable = jiff::fmt::strtime::BrokenDownTime::from(&zoned).format(format, &mut shown);
    writable.is_ok().then(|| format.to_owned())
}

impl Item {
    fn write(&self, record: &Record, time: &mut Time<'_>, out: &mut Vec<u8>) {
        // Writing to memory does not fail.
        let _ = match self {
            Self::Literal(text) => out.write_all(text.as_bytes()),
            Self::Unknown => out.write_all(b"-"),
            Self::Remote => or_none(record.remote().as_bytes(), out),
            Self::Time(None) => out.write_all(time.clf(record.at).as_bytes()),
            Self::Time(Some(format)) => out.write_all(time.strftime(record.at, format).as_bytes()),
            Self::RequestLine => or_none(&record.request_line.line(), out),
            Self::Method => or_none(record.request_line.method(), out),
            Self::Path => or_none(record.request_line.path(), out),
            Self::Query => {
                if let Some(query) = record.request_line.query() {
                    out.push(b'?');
                    escape::text(query, out);
                }
                Ok(())
            }
            Self::Protocol => out.write_all(record.request_line.protocol().as_bytes()),
            Self::Status => write!(out, "{}", record.status().as_u16()),
            Self::ColouredStatus => {
                let status = record.status().as_u16();
                let colour = match status {
                    ..400 => 32,
                    400..500 => 33,
                    500.. => 31,
                };
                write!(out, "\x1b[{colour}m{status}\x1b[0m")
            }
            Self::BytesOrNone if record.sent == 0 => out.write_all(b"-"),
            Self::BytesOrNone | Self::Bytes => write!(out, "{}", record.sent),
            Self::Seconds => write!(out, "{}", record.began.elapsed().as_secs()),
            Self::Millis => write!(out, "{}", record.began.elapsed().as_millis()),
            Self::Micros => write!(out, "{}", record.began.elapsed().as_micros()),
            Self::RequestField(name) => field(record.request_field(name), out),
            Self::ResponseField(name) => field(record.response_field(name), out),
            Self::ServerPort => write!(out, "{}", record.server_port()),
            Self::Pid => write!(out, "{}", std::process::id()),
        };
    }
}

fn or_none(bytes: &[u8], out: &mut Vec<u8>) -> std::io::Result<()> {
    if bytes.is_empty() {
        out.push(b'-');
    } else {
        escape::text(bytes, out);
    }
    Ok(())
}

fn field(value: Option<&[u8]>, out: &mut Vec<u8>) -> std::io::Result<()> {
    or_none(value.unwrap_or_default(), out)
}

/// One JSON object per line, without the members whose values are not known.
fn json(record: &Record, out: &mut Vec<u8>) {
    let _ = write!(out, "{{\"time\":\"{:.6}\",\"remote\":", record.at);
    escape::json(record.remote().as_bytes(), out);
    match &record.request_line {
        RequestLine::Unread(line) => {
            out.extend(b",\"line\":");
            escape::json(line, out);
        }
        request_line @ RequestLine::Head { .. } => {
            out.extend(b",\"method\":");
            escape::json(request_line.method(), out);
            out.extend(b",\"target\":");
            escape::json(request_line.target(), out);
            let _ = write!(out, ",\"protocol\":\"{}\"", request_line.protocol());
        }
    }
    let _ = write!(
        out,
        ",\"status\":{},\"bytes\":{},\"duration_us\":{},\"complete\":{}",
        record.status().as_u16(),
        record.sent,
        record.began.elapsed().as_micros(),
        record.complete
    );
    for (key, name) in JSON_FIELDS {
        if let Some(value) = record.request_field(&name) {
            let _ = write!(out, ",\"{key}\":");
            escape::json(value, out);
        }
    }
    out.extend(b"}\n");
}

impl RequestLine {
    fn line(&self) -> std::borrow::Cow<'_, [u8]> {
        match self {
            Self::Unread(line) => line.into(),
            Self::Head { method, target, .. } => {
                let parts: [&[u8]; 3] = [method, target, self.protocol().as_bytes()];
                parts.join(&b' ').into()
            }
        }
    }

    fn method(&self) -> &[u8] {
        match self {
            Self::Unread(_) => b"",
            Self::Head { method, .. } => method,
        }
    }

    fn target(&self) -> &[u8] {
        match self {
            Self::Unread(_) => b"",
            Self::Head { target, .. } => target,
        }
    }

    fn parts(&self) -> Option<Target<'_>> {
        match self {
            Self::Unread(_) => None,
            Self::Head { target, .. } => Some(split_target(target)),
        }
    }

    fn path(&self) -> &[u8] {
        self.parts().map_or(b"", |target| target.path)
    }

    fn query(&self) -> Option<&[u8]> {
        self.parts()?.query
    }

    fn protocol(&self) -> &'static str {
        match self {
            Self::Unread(_) => "-",
            Self::Head { version, .. } => version.name(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_directive_is_read() {
        for text in [
            "common",
            "combined",
            "json",
            "",
            "plain",
            "%%",
            "%h%a%l%u%t",
            "%{%Y-%m-%d}t",
            "%r %m %U %q %H",
            "%s %>s %<s",
            "%b %B %D %T %{s}T %{ms}T %{us}T",
            "%{X-Request-Id}i %{Content-Type}o",
            "%p %P",
            r#"\"%r\"\t\n\\"#,
            "\u{e4} %h",
        ] {
            assert!(Format::parse(text).is_ok(), "{text}");
        }
        let items = |text| match Format::parse(text).unwrap().shape {
            Shape::Text(items) => items,
            Shape::Json => panic!("not text"),
        };
        assert_eq!(
            items(r#"a\"%%\tb"#),
            [Item::Literal("a\"%\tb\n".to_owned())]
        );
    }

    #[test]
    fn an_unknown_directive_is_named_with_its_place() {
        for (text, place) in [
            ("%h %Z", 4),
            ("%", 1),
            ("a%", 2),
            ("%{Host}", 1),
            ("%{Host", 1),
            ("%{a b}i", 1),
            ("%i", 1),
            ("%{x}T", 1),
            ("%{VAR}e", 1),
            ("\u{e4}%X", 2),
            ("%{%}t", 1),
        ] {
            let error = Format::parse(text).unwrap_err();
            assert_eq!(error.place, place, "{text}: {error}");
        }
    }
}
