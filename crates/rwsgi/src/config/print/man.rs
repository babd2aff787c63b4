//! The man page of the table, and the writer for the pages of both programs. Tests compare the files, and with
//! `BLESS=1` write them.

use roff::{Inline, Roff, bold, roman};

use super::reference::facts;
use crate::config::spec::{Opt, Place, SECTIONS};
use crate::config::table::OPTIONS;

/// A page of section 1.
pub(crate) struct Page {
    heading: String,
    body: Roff,
    /// The section is empty so far.
    begins: bool,
}

impl Page {
    /// Begins the page of a program.
    pub(crate) fn new(program: &str, about: &str) -> Self {
        let version = env!("CARGO_PKG_VERSION");
        let mut page = Self {
            // Without a date, which would change the page each day.
            heading: format!(".TH {program} 1 \"\" \"rwsgi {version}\" \"User Commands\"\n"),
            body: Roff::new(),
            begins: true,
        };
        page.section("NAME")
            .paragraph(&format!("{program} - {about}"));
        page
    }

    /// Begins a section.
    pub(crate) fn section(&mut self, title: &str) -> &mut Self {
        self.body.control("SH", [title]);
        self.begins = true;
        self
    }

    /// Begins a subsection.
    pub(crate) fn part(&mut self, title: &str) -> &mut Self {
        self.body.control("SS", [title]);
        self
    }

    /// Adds a paragraph. Text in backticks is shown bold.
    pub(crate) fn paragraph(&mut self, text: &str) -> &mut Self {
        if !self.begins {
            self.body.control("PP", []);
        }
        self.text(text)
    }

    /// Adds an entry with a description in separate lines.
    pub(crate) fn item(&mut self, what: &str, lines: &[String]) -> &mut Self {
        self.body.control("TP", []);
        self.body.text([bold(what)]);
        for (index, line) in lines.iter().enumerate() {
            if index > 0 {
                self.body.control("br", []);
            }
            self.text(line);
        }
        self
    }

    pub(crate) fn render(&self) -> String {
        let note = ".\\\" Generated from the table of options: BLESS=1 cargo test -p rwsgi fresh\n";
        let mut page = format!("{note}{}", self.heading);
        for character in self.body.render().chars() {
            // Formatters interpret bytes beyond ASCII differently.
            if character.is_ascii() {
                page.push(character);
            } else {
                page += &format!("\\[u{:04X}]", u32::from(character));
            }
        }
        page
    }

    fn text(&mut self, text: &str) -> &mut Self {
        let parts = text.split('`').enumerate();
        let inlines: Vec<Inline> = parts
            .filter(|(_, part)| !part.is_empty())
            .map(|(index, part)| {
                if index % 2 == 1 {
                    bold(part)
                } else {
                    roman(part)
                }
            })
            .collect();
        self.body.text(inlines);
        self.begins = false;
        self
    }
}

const DESCRIPTION: &[&str] = &[
    "`rwsgi` serves the application `APP`: a module, `module:callable`, or the path of a `.wsgi` or `.py` file. In a folder with \
     a Django `manage.py` it may be left out. Processes are forked from one in which the application has been loaded; any idle \
     thread of any of them takes the next request.",
    "Each option can be given on the command line (`--stack-size 8M`), in the environment (`RWSGI_STACK_SIZE=8M`), or in \
     `rwsgi.toml` (`stack-size = \"8M\"`). The first of these that gives it counts: command line, environment, file, default.",
    "Sizes are in bytes, or take `K`, `M`, `G`. Times are in seconds, or take `ms`, `s`, `m`, `h`. An option that can be given more \
     than once is an array in the file, and in the environment a list separated by commas.",
];

const FILES: &[(&str, &str)] = &[
    (
        "rwsgi.toml",
        "Options, in the folder in which the server is started, unless `--config` names another file.",
    ),
    (
        "rwsgi.sock",
        "The control socket, in `$RUNTIME_DIRECTORY`, `$XDG_RUNTIME_DIR`, `/run/rwsgi` or `/tmp/rwsgi-UID`, unless `--control` \
         names another place.",
    ),
];

const SIGNALS: &[(&str, &str)] = &[
    (
        "TERM, INT",
        "Stop when the requests in flight are answered.",
    ),
    ("QUIT", "Stop at once."),
    (
        "HUP",
        "Reload: the application and the files are read anew; the old processes serve until the first new one is ready.",
    ),
    ("USR1", "Open the log files anew."),
    (
        "USR2",
        "Start the server once more, which takes the listeners over when it serves.",
    ),
    (
        "TTIN, TTOU",
        "One process more, one less, until the next reload.",
    ),
    (
        "WINCH",
        "All processes retire; requests wait until `HUP` or `TTIN`.",
    ),
];

const EXIT_CODES: &[(&str, &str)] = &[
    (
        "0",
        "The server has stopped as it was told to, or what was asked for has been printed.",
    ),
    ("64", "The command line is wrong."),
    ("69", "An address is taken, or is not there (yet)."),
    ("70", "Something that the server relies on has failed."),
    ("71", "The system refuses what the server needs."),
    (
        "75",
        "The application raised an exception while it was loaded, or was not ready in time: another try may help.",
    ),
    (
        "78",
        "The configuration is wrong, or there is no such application.",
    ),
];

/// The page of `rwsgi`.
pub(crate) fn page() -> String {
    let mut page = Page::new("rwsgi", "a preforking WSGI application server");
    page.section("SYNOPSIS")
        .paragraph("`rwsgi` [OPTIONS] [APP]")
        .section("DESCRIPTION");
    for text in DESCRIPTION {
        page.paragraph(text);
    }
    page.section("OPTIONS");
    for section in SECTIONS {
        page.part(section.title());
        for row in OPTIONS.iter().filter(|row| row.section == *section) {
            page.item(&name(row), &lines(row));
        }
    }
    for (title, items) in [
        ("FILES", FILES),
        ("SIGNALS", SIGNALS),
        ("EXIT STATUS", EXIT_CODES),
    ] {
        page.section(title);
        for (what, text) in items {
            page.item(what, &[(*text).to_owned()]);
        }
    }
    page.section("SEE ALSO").paragraph("`rwsgictl`(1)");
    page.render()
}

fn name(row: &Opt) -> String {
    let letter = row
        .letter
        .map_or_else(String::new, |letter| format!("-{letter}, "));
    let also: String = row
        .also
        .iter()
        .filter(|_| row.place != Place::Positional)
        .map(|name| format!(", --{name}"))
        .collect();
    format!("{letter}{}{also}", row.usage())
}

fn lines(row: &Opt) -> Vec<String> {
    let text = format!("{}. {}", row.short, row.long);
    let facts = facts(row).into_iter();
    [text.trim_end().to_owned()]
        .into_iter()
        .chain(facts.map(|(what, text)| format!("{what}: {text}")))
        .collect()
}
