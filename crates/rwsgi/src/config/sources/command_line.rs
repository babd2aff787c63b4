//! Options from the command line.

use std::ffi::OsString;

use lexopt::{Arg, Parser};

use super::given::{Entries, Value};
use crate::config::elsewhere::{answer_letter, hint_at, mistaken};
use crate::config::error::{Error, Origin};
use crate::config::spec::{Kind, Opt, Place, Switch};
use crate::config::table::OPTIONS;

/// Parses the arguments, without the program's name, up to `--help` or `--version`.
pub(crate) fn read(
    args: impl IntoIterator<Item = OsString>,
) -> Result<(Entries, Option<Switch>), Error> {
    let mut parser = Parser::from_args(args);
    let mut given = Entries::new();
    let mut switch = None;
    while let Some(arg) = parser.next().map_err(usage)? {
        let typed = match arg {
            Arg::Short(letter) => Some(letter),
            _ => None,
        };
        let row = match arg {
            Arg::Long(name) => named(|row| row.is_called(name)).ok_or_else(|| unknown(name))?,
            Arg::Short(letter) => {
                named(|row| row.letter == Some(letter)).ok_or_else(|| unknown_letter(letter))?
            }
            Arg::Value(text) => {
                let row = positional();
                if given
                    .iter()
                    .any(|(other, _): &(&Opt, Value)| other.name == row.name)
                {
                    return Err(Error::Usage(format!(
                        "unexpected argument {text:?}: {} is given already",
                        row.value
                    )));
                }
                given.push((row, value(row, text)?));
                continue;
            }
        };
        match row.kind {
            Kind::Switch(asked @ (Switch::Help | Switch::Version)) => {
                return Ok((given, Some(asked)));
            }
            Kind::Switch(asked) => switch = Some(asked),
            Kind::Flag(_) => {
                let text = parser.optional_value().unwrap_or_else(|| "on".into());
                given.push((row, value(row, text)?));
            }
            _ => {
                let value = value(row, parser.value().map_err(usage)?)?;
                if let Some(problem) = typed.and_then(|letter| mistaken(letter, &value.text)) {
                    return Err(Error::Value {
                        option: row.name,
                        value: value.text,
                        problem,
                        place: value.origin,
                    });
                }
                given.push((row, value));
            }
        }
    }
    Ok((given, switch))
}

fn named(is: impl Fn(&Opt) -> bool) -> Option<&'static Opt> {
    OPTIONS
        .iter()
        .find(|row| row.place != Place::Positional && is(row))
}

fn positional() -> &'static Opt {
    OPTIONS
        .iter()
        .find(|row| row.place == Place::Positional)
        .expect("the table has the row of the application")
}

fn value(row: &Opt, text: OsString) -> Result<Value, Error> {
    let text = text
        .into_string()
        .map_err(|text| Error::Usage(format!("{} {text:?} is not UTF-8", row.name)))?;
    Ok(Value {
        text,
        origin: Origin::CommandLine,
    })
}

fn unknown(name: &str) -> Error {
    Error::Unknown {
        what: "option",
        name: format!("--{name}"),
        place: Origin::CommandLine,
        hint: hint_at(name, "--", |row| row.place != Place::Positional),
    }
}

fn unknown_letter(letter: char) -> Error {
    Error::Unknown {
        what: "option",
        name: format!("-{letter}"),
        place: Origin::CommandLine,
        hint: answer_letter(letter).map_or_else(String::new, |answer| format!("; {answer}")),
    }
}

fn usage(error: lexopt::Error) -> Error {
    Error::Usage(error.to_string())
}
