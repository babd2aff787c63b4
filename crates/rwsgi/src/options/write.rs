//! The pages that the program itself prints: help, version, and the configuration in effect.

use super::error::Origin;
use super::opt::{Kind, Opt, Place, SECTIONS, Section};
use super::quantity::number;
use super::table::OPTIONS;
use super::typed::{Typed, Value};

/// Where the descriptions of `--help` begin.
const COLUMN: usize = 34;

/// No line of `--help` is longer.
const WIDTH: usize = 79;

/// The page of `--help`.
pub(super) fn help() -> String {
    let mut page = format!(
        "{}: a preforking WSGI application server\n\nUsage: rwsgi [OPTIONS] [APP]\n",
        version().trim_end()
    );
    for section in SECTIONS {
        page += &format!("\n{}:\n", section.title());
        for row in OPTIONS.iter().filter(|row| row.section == *section) {
            page += &entry(row);
        }
    }
    page += "\nEach option can also stand in the environment (RWSGI_STACK_SIZE=8M) or in\n";
    page += "rwsgi.toml (stack-size = \"8M\"); the command line counts first, then the\n";
    page += "environment, then the file. An option marked + may be given more than once.\n";
    page += "SIZE takes K, M, G; TIME takes ms, s, m, h and is otherwise in seconds.\n";
    page
}

/// The line of `--version`.
pub(super) fn version() -> String {
    format!("rwsgi {}\n", env!("CARGO_PKG_VERSION"))
}

/// The configuration in effect as a configuration file, with a comment on each line that tells where it comes from.
///
/// A default is commented out: as a value of the file it would count as given, which for `bind` makes a difference.
pub(super) fn config(typed: &Typed) -> String {
    let mut page = format!("# {}", version());
    for row in OPTIONS.iter().filter(|row| row.in_file()) {
        let values = typed.of(row.name);
        let Some(first) = values.first() else {
            page += &format!("# {} is not set\n", row.name);
            continue;
        };
        let mark = if first.origin == Origin::Default {
            "# "
        } else {
            ""
        };
        page += &format!(
            "{mark}{} = {}  # {}\n",
            row.name,
            toml_value(row, values),
            origin(&first.origin)
        );
    }
    page
}

impl Section {
    /// Its heading.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Application => "Application",
            Self::Python => "Python and its surroundings",
            Self::Pool => "Pool",
            Self::Listening => "Listening",
            Self::Requests => "Requests",
            Self::Server => "Server",
        }
    }
}

impl Opt {
    /// The option as it is typed on the command line, with what stands for its value.
    pub(super) fn usage(&self) -> String {
        let name = match self.place {
            Place::Positional => String::new(),
            Place::Everywhere | Place::OutsideFile | Place::CommandLine => {
                format!("--{} ", self.name)
            }
        };
        format!("{name}{}", self.value).trim_end().to_owned()
    }
}

/// One option in `--help`: what is typed, then the description beside it or, when that is too long, below it.
fn entry(row: &Opt) -> String {
    let letter = match (row.place, row.letter) {
        (Place::Positional, _) => String::new(),
        (_, Some(letter)) => format!("-{letter}, "),
        (_, None) => "    ".to_owned(),
    };
    let mut line = format!(
        "  {letter}{}{}",
        row.usage(),
        if row.is_list() { " +" } else { "" }
    );
    let mut entry = String::new();
    if line.len() + 2 > COLUMN {
        entry += &line;
        entry.push('\n');
        line.clear();
    }
    let default = row.default.filter(|default| !default.is_empty());
    let text = default.map_or_else(
        || row.short.to_owned(),
        |default| format!("{} [{default}]", row.short),
    );
    line = format!("{line:<width$}", width = COLUMN - 1);
    for word in text.split(' ') {
        if line.len() + 1 + word.len() > WIDTH {
            entry += &line;
            entry.push('\n');
            line = " ".repeat(COLUMN - 1);
        }
        line.push(' ');
        line += word;
    }
    entry + &line + "\n"
}

fn origin(origin: &Origin) -> String {
    // A path may hold what would end the comment.
    origin.to_string().replace(char::is_control, "?")
}

fn toml_value(row: &Opt, values: &[Value]) -> String {
    let mut texts = values.iter().map(|value| match row.kind {
        // Shown as it was understood: TOML knows no `007`.
        Kind::Count(..)
        | Kind::CountOr(..)
        | Kind::Size(..)
        | Kind::SizeOr(..)
        | Kind::Time(..) => {
            number(&value.text).map_or_else(|| quoted(&value.text), |number| number.to_string())
        }
        _ => quoted(&value.text),
    });
    if row.is_list() {
        format!("[{}]", texts.collect::<Vec<_>>().join(", "))
    } else {
        texts.next().unwrap_or_default()
    }
}

/// A basic string of TOML.
fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted += &format!("\\u{:04X}", u32::from(c)),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
