//! What can be wrong with the options, in the operator's words.

use std::fmt;
use std::io;
use std::path::PathBuf;

use supervisor::exit::{CONFIGURATION, USAGE};

/// Where something was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// On the command line.
    CommandLine,
    /// In the environment, by the variable of this name.
    Environment(String),
    /// In a file.
    File {
        /// The file, as it was named.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// In the environment, by the variable of this name in which platforms tell every program something.
    Platform(&'static str),
    /// Nowhere.
    Default,
}

impl Origin {
    /// Somebody has given it, rather than that it is so where nothing is said.
    pub(crate) fn is_given(&self) -> bool {
        !matches!(self, Self::Platform(_) | Self::Default)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CommandLine => f.write_str("command line"),
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::Platform(name) => write!(f, "environment variable {name}"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// What is wrong with the options. Nothing has been started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command line cannot be split into options and values.
    #[error("command line: {0}")]
    Usage(String),
    /// There is no such option, key or variable.
    #[error("{place}: unknown {what} {name}{}", hint(nearest.as_ref()))]
    Unknown {
        /// `option`, `key` or `variable`.
        what: &'static str,
        /// What was typed.
        name: String,
        /// Where.
        place: Origin,
        /// What was probably meant.
        nearest: Option<String>,
    },
    /// An option has a value that it cannot have.
    #[error("{place}: {option} {value:?} {problem}")]
    Value {
        /// The option.
        option: &'static str,
        /// What was typed.
        value: String,
        /// What is wrong with it.
        problem: String,
        /// Where.
        place: Origin,
    },
    /// A file or a variable is not written as it must be.
    #[error("{place}: {problem}")]
    Malformed {
        /// What is wrong.
        problem: String,
        /// Where.
        place: Origin,
    },
    /// A file that an option names cannot be read.
    #[error("{place}: {option} {} cannot be read", path.display())]
    Unreadable {
        /// The option.
        option: &'static str,
        /// The file.
        path: PathBuf,
        /// Where the option was given.
        place: Origin,
        /// Why it cannot be read.
        source: io::Error,
    },
    /// No application was given, and none was found.
    #[error(
        "no application: give module:callable, module, or the path of a .wsgi or .py file, \
         or start in the folder of a Django project ({problem})"
    )]
    NoApp {
        /// Why none was found.
        problem: String,
    },
}

impl Error {
    /// The code with which the process exits: 64 when the command line is wrong, 78 when the environment or a file is.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::NoApp { .. } => USAGE,
            Self::Unknown { place, .. }
            | Self::Value { place, .. }
            | Self::Malformed { place, .. }
            | Self::Unreadable { place, .. } => match place {
                Origin::CommandLine => USAGE,
                _ => CONFIGURATION,
            },
        }
    }
}

/// The end of a message that names what was probably meant.
pub(crate) fn hint(nearest: Option<impl AsRef<str>>) -> String {
    nearest.map_or_else(String::new, |name| {
        format!("; did you mean {}?", name.as_ref())
    })
}

/// What stands beside the name that `typed` was probably meant to be, when one is near enough.
pub(crate) fn nearest<'a, T>(
    typed: &str,
    names: impl IntoIterator<Item = (&'a str, T)>,
) -> Option<T> {
    let typed = typed.to_lowercase();
    names
        .into_iter()
        .map(|(name, what)| (distance(&typed, &name.to_lowercase()), what))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, _)| *distance <= typed.chars().count().div_ceil(3))
        .map(|(_, what)| what)
}

/// How many characters must be put in, taken out or replaced to make `b` of `a`.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.chars().enumerate() {
            let replaced = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[row.len() - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_counts_edits() {
        for (a, b, edits) in [
            ("", "", 0),
            ("", "ab", 2),
            ("ab", "", 2),
            ("kitten", "sitting", 3),
            ("wran", "warn", 2),
        ] {
            assert_eq!(distance(a, b), edits, "{a} {b}");
        }
    }

    #[test]
    fn only_a_near_name_is_proposed() {
        let names = [("threads", 't'), ("processes", 'p'), ("bind", 'b')];
        assert_eq!(nearest("thread", names), Some('t'));
        assert_eq!(nearest("PROCESES", names), Some('p'));
        assert_eq!(nearest("access-log", names), None);
        assert_eq!(nearest::<char>("threads", []), None);
    }
}
