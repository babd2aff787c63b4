//! The given values, their origins, and which source takes precedence. They are not interpreted here.

mod command_line;
pub(crate) mod environment;
pub(crate) mod file;
pub(crate) mod given;

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use supervisor::Identity;

use super::error::{Error, Origin};
use super::rows::application::{APP, PASTE};
use super::rows::meta::CONFIG;
use super::spec::{Opt, Switch};
use super::table::OPTIONS;
use given::{Entries, Value};

/// The configuration file that is read if it exists.
const DEFAULT_FILE: &str = "rwsgi.toml";

/// The values of each option from the first source that gives any, in this order: command line, environment, file,
/// platform variables, default.
#[derive(Debug)]
pub(crate) struct Given {
    values: BTreeMap<&'static str, Vec<Value>>,
    /// The command other than serving.
    pub(crate) switch: Option<Switch>,
    /// Variables of the environment that are no options, each with the most similar name.
    pub(crate) ignored: Vec<String>,
}

impl Given {
    /// Reads every source. Relative paths refer to `start`. Links that `user`, the application's user, may have
    /// created are not followed.
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
        given.choose_app()?;
        Ok(given)
    }

    /// An application has been named.
    pub(crate) fn names_app(&self) -> bool {
        !self.of(&APP).is_empty() || !self.of(&PASTE).is_empty()
    }

    /// Of the two options that name an application, the one from the first source counts.
    fn choose_app(&mut self) -> Result<(), Error> {
        let (Some(app), Some(paste)) = (self.given(&APP), self.given(&PASTE)) else {
            return Ok(());
        };
        let rank = |value: &Value| match value.origin {
            Origin::CommandLine => 0,
            Origin::Environment(_) => 1,
            Origin::File { .. } | Origin::Platform(_) | Origin::Default => 2,
        };
        let other = match rank(app).cmp(&rank(paste)) {
            Ordering::Less => PASTE.name,
            Ordering::Greater => APP.name,
            Ordering::Equal => {
                return Err(Error::Value {
                    option: PASTE.name,
                    value: paste.text.clone(),
                    problem: format!(
                        "names an application, and so does app {:?}: leave one out",
                        app.text
                    ),
                    place: paste.origin.clone(),
                });
            }
        };
        self.values.remove(other);
        Ok(())
    }

    /// The values of an option: at most one, unless it is a list.
    pub(crate) fn of(&self, row: &Opt) -> &[Value] {
        self.values.get(row.name).map_or(&[], Vec::as_slice)
    }

    /// The given value of an option, the last one of a list; `None` when it is the default.
    pub(crate) fn given(&self, row: &Opt) -> Option<&Value> {
        let last = self.of(row).last();
        last.filter(|value| value.origin.is_given())
    }

    /// Restores the options that need a restart to their values from the start; returns those that have changed.
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

    /// Adds a source with a lower precedence than those added before.
    fn add(&mut self, entries: Entries) {
        let mut added: BTreeMap<&'static str, Vec<Value>> = BTreeMap::new();
        for (row, value) in entries {
            let values = added.entry(row.name).or_default();
            // The last value of a single-valued option counts, so that a script can append to a command line.
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
    // A dangling link or a file that may not be examined is not treated as missing: reading it shows the error.
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
