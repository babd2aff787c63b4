//! Options from a configuration file.

use std::path::{Path, PathBuf};

use supervisor::{Identity, Place};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::given::{Entries, Value};
use crate::config::elsewhere::hint_at;
use crate::config::error::{Error, Origin};
use crate::config::rows::meta::CONFIG;
use crate::config::spec::{Kind, Opt};
use crate::config::table::OPTIONS;

/// The maximum size in bytes of a file with settings or variables.
pub(crate) const LONGEST: u64 = 1024 * 1024;

/// Reads the file that `--config` names, or the default one.
pub(crate) fn read(place: &Path, named: &Value, user: Option<&Identity>) -> Result<Entries, Error> {
    let path = PathBuf::from(&named.text);
    let read = Place::find_target(place, user).and_then(|place| place.read(LONGEST));
    let text = read.map_err(|source| Error::Unreadable {
        option: CONFIG.name,
        path: path.clone(),
        place: named.origin.clone(),
        source,
    })?;
    let file = File { path, text: &text };
    let table = DeTable::parse(&text).map_err(|error| {
        file.malformed(
            error.span().map_or(0, |span| span.start),
            first_line(error.message()),
        )
    })?;
    // In the order of the lines, so that the first error is reported first.
    let mut entries: Vec<_> = table.get_ref().iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    let mut given = Entries::new();
    for (key, value) in entries {
        let row = file.row(key.get_ref(), key.span().start)?;
        if let Some((_, first)) = given.iter().find(|(other, _)| other.name == row.name) {
            let problem = format!(
                "{} is given a second time, after {}",
                row.name, first.origin
            );
            return Err(file.malformed(key.span().start, &problem));
        }
        file.values(row, value, &mut given)?;
    }
    Ok(given)
}

struct File<'a> {
    path: PathBuf,
    text: &'a str,
}

impl File<'_> {
    /// The option of a key: its own name, or Apache's, in any case as in `httpd.conf`.
    fn row(&self, key: &str, offset: usize) -> Result<&'static Opt, Error> {
        let is = |row: &&Opt| {
            let is_key = |apache: &&str| apache.eq_ignore_ascii_case(key);
            row.is_called(key) || row.apache.iter().any(is_key)
        };
        OPTIONS
            .iter()
            .filter(|row| row.in_file())
            .find(is)
            .ok_or_else(|| Error::Unknown {
                what: "key",
                name: key.to_owned(),
                place: self.origin(offset),
                hint: hint_at(key, "", Opt::in_file),
            })
    }

    /// Adds the values of a key.
    fn values(
        &self,
        row: &'static Opt,
        value: &Spanned<DeValue<'_>>,
        given: &mut Entries,
    ) -> Result<(), Error> {
        match value.get_ref() {
            DeValue::Array(items) if row.is_list() => {
                for item in items {
                    given.push((row, self.one(row, item)?));
                }
            }
            DeValue::Table(pairs) if matches!(row.kind, Kind::Pairs(_)) => {
                for (name, item) in pairs {
                    let Value { text, origin } = self.one(row, item)?;
                    given.push((
                        row,
                        Value {
                            text: format!("{}={text}", name.get_ref()),
                            origin,
                        },
                    ));
                }
            }
            _ => given.push((row, self.one(row, value)?)),
        }
        Ok(())
    }

    /// One value, in the form of the command line.
    fn one(&self, row: &Opt, value: &Spanned<DeValue<'_>>) -> Result<Value, Error> {
        let offset = value.span().start;
        let text = match value.get_ref() {
            DeValue::String(text) => text.to_string(),
            DeValue::Integer(number) => match i128::from_str_radix(number.as_str(), number.radix())
            {
                Ok(number) => number.to_string(),
                Err(_) => number.as_str().to_owned(),
            },
            DeValue::Float(number) => number.as_str().to_owned(),
            DeValue::Boolean(true) => "on".to_owned(),
            DeValue::Boolean(false) => "off".to_owned(),
            DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
                let what = value.get_ref().type_str();
                return Err(self.malformed(
                    offset,
                    &format!("{} cannot be of the type {what}", row.name),
                ));
            }
        };
        Ok(Value {
            text,
            origin: self.origin(offset),
        })
    }

    fn malformed(&self, offset: usize, problem: &str) -> Error {
        Error::Malformed {
            problem: problem.to_owned(),
            place: self.origin(offset),
        }
    }

    fn origin(&self, offset: usize) -> Origin {
        let before = &self.text.as_bytes()[..offset.min(self.text.len())];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        Origin::File {
            path: self.path.clone(),
            line,
        }
    }
}

fn first_line(message: &str) -> &str {
    message.lines().next().unwrap_or(message)
}
