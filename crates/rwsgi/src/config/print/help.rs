//! The text of `--help` and `--version`.

use super::fill::fill;
use crate::config::spec::{Opt, Place, SECTIONS, Section};
use crate::config::table::OPTIONS;

/// The column of the descriptions.
const COLUMN: usize = 34;

/// The maximum line length.
const WIDTH: usize = 79;

/// The page of `--help`.
pub(crate) fn page() -> String {
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
pub(crate) fn version() -> String {
    format!("rwsgi {}\n", env!("CARGO_PKG_VERSION"))
}

impl Section {
    /// The heading of the section.
    pub(crate) fn title(self) -> &'static str {
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
    /// The option as typed on the command line, with its placeholder.
    pub(crate) fn usage(&self) -> String {
        let name = match self.place {
            Place::Positional => String::new(),
            Place::Everywhere | Place::OutsideFile | Place::CommandLine => {
                format!("--{} ", self.name)
            }
        };
        format!("{name}{}", self.value).trim_end().to_owned()
    }
}

/// One option in `--help`: its usage, and its description in the same or the next line.
fn entry(row: &Opt) -> String {
    let letter = match (row.place, row.letter) {
        (Place::Positional, _) => String::new(),
        (_, Some(letter)) => format!("-{letter}, "),
        (_, None) => "    ".to_owned(),
    };
    let line = format!(
        "  {letter}{}{}",
        row.usage(),
        if row.is_list() { " +" } else { "" }
    );
    let default = row.default.filter(|default| !default.is_empty());
    let text = default.map_or_else(
        || row.short.to_owned(),
        |default| format!("{} [{default}]", row.short),
    );
    let mut entry = String::new();
    fill(&mut entry, &line, COLUMN, &text, WIDTH);
    entry
}
