//! What was given, where, and which of it counts. What it means is not looked at here.

mod command_line;
pub(crate) mod environment;
pub(crate) mod file;
pub(crate) mod given;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use supervisor::Identity;

use super::error::{Error, Origin};
use super::rows::meta::CONFIG;
use super::spec::{Opt, Switch};
use super::table::OPTIONS;
use given::{Entries, Value};

/// The configuration file that is read when it is there.
const DEFAULT_FILE: &str = "rwsgi.toml";

/// The values of each option from the first source that gives any: command line, environment, file, the platform's variables,
/// default.
#[derive(Debug)]
pub(crate) struct Given {
    values: BTreeMap<&'static str, Vec<Value>>,
    /// What is asked for instead of serving.
    pub(crate) switch: Option<Switch>,
    /// Variables of the environment that are no option's, each with the one that was probably meant.
    pub(crate) ignored: Vec<String>,
}

impl Given {
    /// Reads every source. Relative paths are taken from `start`. No link to a file is followed that `user` may have made, who
    /// is the application's since the start.
    pub(crate) fn read(
        args: impl IntoIterator<Item = OsString>,
        env: &[(String, String)],
        start: &Path,
        user: Option<&Identity>,
    ) -> Result<Self, Error> {
        let (entries, switch) = command_line::read(args)?;
        let mut given = Self {
            values: BTreeMap::new(),
            switch,
            ignored: Vec::new(),
        };
        if matches!(switch, Some(Switch::Help | Switch::Version)) {
            return Ok(given);
        }
        given.add(entries);
        let (entries, ignored) = environment::read(env);
        given.ignored = ignored;
        given.add(entries);
        if let Some(value) = given
            .of(&CONFIG)
            .last()
            .cloned()
            .or_else(|| default_file(start))
        {
            let entries = file::read(&start.join(&value.text), &value, user)?;
            given.add(entries);
            given.add(vec![(&CONFIG, value)]);
        }
        given.add(environment::platform(env));
        given.add(defaults());
        Ok(given)
    }

    /// The values of an option: at most one, when it is no list.
    pub(crate) fn of(&self, row: &Opt) -> &[Value] {
        self.values.get(row.name).map_or(&[], Vec::as_slice)
    }

    /// The value of an option, the last if it is a list; nothing when nobody has given it.
    pub(crate) fn given(&self, row: &Opt) -> Option<&Value> {
        let last = self.of(row).last();
        last.filter(|value| value.origin.is_given())
    }

    /// Takes over, from what was given at the start, the options that need a restart; gives back those that have changed.
    pub(crate) fn keep_what_needs_restart(&mut self, before: &Self) -> Vec<&'static str> {
        let mut changed = Vec::new();
        for row in OPTIONS.iter().filter(|row| row.needs_restart()) {
            let texts = |given: &Self| -> Vec<String> {
                given
                    .of(row)
                    .iter()
                    .map(|value| value.text.clone())
                    .collect()
            };
            if texts(self) != texts(before) {
                changed.push(row.name);
            }
            match before.values.get(row.name) {
                Some(values) => self.values.insert(row.name, values.clone()),
                None => self.values.remove(row.name),
            };
        }
        changed
    }

    /// Adds a source that comes after those that have been added.
    fn add(&mut self, entries: Entries) {
        let mut added: BTreeMap<&'static str, Vec<Value>> = BTreeMap::new();
        for (row, value) in entries {
            let values = added.entry(row.name).or_default();
            // Of an option that takes one value the last one counts, so that a script can append to a command line.
            if !row.is_list() {
                values.clear();
            }
            values.push(value);
        }
        for (name, values) in added {
            self.values.entry(name).or_insert(values);
        }
    }
}

fn default_file(start: &Path) -> Option<Value> {
    // A dangling link or a file that may not be looked at is not "no file": it is read, and the error is shown.
    let there = start.join(DEFAULT_FILE).symlink_metadata().is_ok();
    there.then(|| Value {
        text: DEFAULT_FILE.to_owned(),
        origin: Origin::Default,
    })
}

fn defaults() -> Entries {
    let default = |text: &str| Value {
        text: text.to_owned(),
        origin: Origin::Default,
    };
    OPTIONS
        .iter()
        .filter_map(|row| Some((row, default(row.default?))))
        .collect()
}
