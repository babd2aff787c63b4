//! The reference page `docs/options.md`. A test compares it, and with `BLESS=1` writes it.

use crate::config::spec::{Opt, Place, SECTIONS};
use crate::config::table::OPTIONS;

const INTRODUCTION: &str = "\
# Options

<!-- Generated from the table of options: BLESS=1 cargo test -p rwsgi fresh -->

`rwsgi [OPTIONS] [APP]` serves the application APP.

Each option can be given on the command line (`--stack-size 8M`), in the environment (`RWSGI_STACK_SIZE=8M`), or in
`rwsgi.toml` (`stack-size = \"8M\"`). The first of these that gives it counts: command line, environment, file, default.
In the file, an option that is a directive of Apache can also be called by that name, in any case
(`ThreadStackSize = 8388608`).

- Sizes are in bytes, or take `K`, `M`, `G` (powers of 1024). Times are in seconds, or take `ms`, `s`, `m`, `h`.
- An option that can be given more than once is an array in the file, and in the environment a list separated by commas.
  The lists of two places are not joined.
- An empty variable counts as not given. A variable `RWSGI_…` that is no option is ignored with a warning, since Kubernetes
  sets such for a service of this name; so is a value as `tcp://…`, which it gives them.
- `PORT` and `WEB_CONCURRENCY`, which Heroku, Cloud Run and others set, stand for `--bind :PORT` and `--processes` where nothing
  else is said of them.
- Relative paths are taken from the folder in which the server is started, if nothing else is said.
- What is wrong is told with its place before anything is started. The exit code is 64 for the command line and 78 for
  the environment and the file.
";

/// The page.
pub(crate) fn page() -> String {
    let mut page = INTRODUCTION.to_owned();
    for section in SECTIONS {
        page += &format!("\n## {}\n", section.title());
        for row in OPTIONS.iter().filter(|row| row.section == *section) {
            page += &entry(row);
        }
    }
    page
}

fn entry(row: &Opt) -> String {
    let letter = row
        .letter
        .map_or_else(String::new, |letter| format!("-{letter}, "));
    let long = if row.long.is_empty() {
        String::new()
    } else {
        format!(" {}", row.long)
    };
    let mut entry = format!(
        "\n### `{letter}{}`\n\n{}.{long}\n\n",
        row.usage(),
        row.short
    );
    for (what, text) in facts(row) {
        entry += &format!("- {what}: {text}\n");
    }
    // A switch has no facts, so the empty line after its text is removed.
    entry.truncate(entry.trim_end().len());
    entry + "\n"
}

/// The facts of an option, a few words each.
pub(crate) fn facts(row: &Opt) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    if row.is_list() {
        facts.push(("May be given", "more than once".to_owned()));
    }
    if let Some(default) = row.default {
        facts.push((
            "Default",
            if default.is_empty() {
                "empty".to_owned()
            } else {
                format!("`{default}`")
            },
        ));
    }
    if let Some(takes) = row.kind.takes() {
        facts.push(("Takes", takes));
    }
    if let Some(variable) = row.variable() {
        facts.push(("In the environment", format!("`{variable}`")));
    }
    if row.in_file() {
        let others = row.also.iter().chain(row.apache);
        let others: String = others.map(|name| format!(" or `{name}`")).collect();
        facts.push(("In the file", format!("`{}`{others}", row.name)));
        let when = if row.needs_restart() {
            "after a restart"
        } else {
            "with a reload"
        };
        facts.push(("A change takes effect", when.to_owned()));
    } else if row.place == Place::OutsideFile {
        facts.push(("In the file", "cannot be given".to_owned()));
    }
    if !row.elsewhere.is_empty() {
        let names: Vec<_> = row
            .elsewhere
            .iter()
            .map(|(program, name)| format!("{program} `{name}`"))
            .collect();
        facts.push(("Elsewhere", names.join(", ")));
    }
    facts
}
