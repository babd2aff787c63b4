//! Errors in the options.

use std::fmt;
use std::io;
use std::path::PathBuf;

use supervisor::exit::{CONFIGURATION, USAGE};

/// Where a value was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// On the command line.
    CommandLine,
    /// In the environment, by this variable.
    Environment(String),
    /// In a file.
    File {
        /// The file, as it was given.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// In the environment, by this variable of a hosting platform.
    Platform(&'static str),
    /// Not given: it is the default.
    Default,
}

impl Origin {
    /// Whether the value was given, rather than being the default.
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

/// An error in the options. Nothing has been started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command line cannot be parsed.
    #[error("command line: {0}")]
    Usage(String),
    /// An unknown option, key or variable.
    #[error("{place}: unknown {what} {name}{hint}")]
    Unknown {
        /// `option`, `key` or `variable`.
        what: &'static str,
        /// What was typed.
        name: String,
        /// Where it was given.
        place: Origin,
        /// What was probably meant, as the end of the sentence.
        hint: String,
    },
    /// An invalid value of an option.
    #[error("{place}: {option} {value:?} {problem}")]
    Value {
        /// The option.
        option: &'static str,
        /// What was typed.
        value: String,
        /// The reason.
        problem: String,
        /// Where it was given.
        place: Origin,
    },
    /// The syntax of a file or a variable is invalid.
    #[error("{place}: {problem}")]
    Malformed {
        /// The reason.
        problem: String,
        /// Where it is.
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
        /// The reason.
        source: io::Error,
    },
    /// No application was given, and none was found.
    #[error(
        "no application: give module:callable, module:factory(), module, or the path of a .wsgi or .py file, \
         or start in the folder of a Django project ({problem})"
    )]
    NoApp {
        /// The reason.
        problem: String,
    },
}

impl Error {
    /// The exit code: 64 for the command line, 78 for the environment or a file.
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

/// The end of a message, which suggests a name.
pub(crate) fn hint(nearest: Option<impl AsRef<str>>) -> String {
    nearest.map_or_else(String::new, |name| {
        format!("; did you mean {}?", name.as_ref())
    })
}

/// The entry whose name is most similar to `typed`, if one is similar enough.
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

/// The edit distance: insertions, deletions and substitutions of characters.
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
