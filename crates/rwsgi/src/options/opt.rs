//! What an option is: the shape of a row of the table.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::config::Config;
use super::quantity::{show_size, show_time};

/// One option.
#[derive(Debug)]
pub(super) struct Opt {
    /// Its long name, which is also its key in the file.
    pub(super) name: &'static str,
    /// Its letter on the command line.
    pub(super) letter: Option<char>,
    /// Other names of it, on the command line and in the file.
    pub(super) also: &'static [&'static str],
    /// Apache's directives of the same meaning and the same units: other keys in the file.
    pub(super) apache: &'static [&'static str],
    /// What it is called elsewhere, as program and name: for the reader, and for the hint at a wrong name.
    pub(super) elsewhere: &'static [(&'static str, &'static str)],
    /// Where it stands in `--help` and in the reference.
    pub(super) section: Section,
    /// Where it may be given.
    pub(super) place: Place,
    /// What stands for its value in `--help`; empty for a switch.
    pub(super) value: &'static str,
    /// Its value when it is not given; without one it is then not set.
    pub(super) default: Option<&'static str>,
    /// For `--help`.
    pub(super) short: &'static str,
    /// For the reference, after `short`.
    #[cfg_attr(not(test), expect(dead_code, reason = "a test writes the reference"))]
    pub(super) long: &'static str,
    /// What it takes, and what it does to the configuration.
    pub(super) kind: Kind,
}

/// What an option takes, and how a value within its bounds is put into the configuration.
#[derive(Debug)]
pub(super) enum Kind {
    /// No value: something else is asked for than to serve.
    Switch(Switch),
    /// A whole number.
    Count(RangeInclusive<u64>, fn(&mut Config, u64)),
    /// A number of bytes.
    Size(RangeInclusive<u64>, fn(&mut Config, u64)),
    /// A time.
    Time(RangeInclusive<Duration>, fn(&mut Config, Duration)),
    /// A whole number, or this word.
    CountOr(
        RangeInclusive<u64>,
        fn(&mut Config, u64),
        (&'static str, Set),
    ),
    /// A number of bytes, or one of these words.
    SizeOr(
        RangeInclusive<u64>,
        fn(&mut Config, u64),
        &'static [(&'static str, Set)],
    ),
    /// On or off; on the command line, its name alone means on.
    Flag(fn(&mut Config, bool)),
    /// One of these.
    Choice(&'static [(&'static str, Set)]),
    /// A path, taken from the folder in which the server is started.
    Path(fn(&mut Config, PathBuf)),
    /// Text; the setter says what is wrong with it.
    Text(SetText),
    /// Any number of texts, set one by one.
    List(SetText),
}

/// Puts a choice into the configuration.
pub(super) type Set = fn(&mut Config);

/// Puts a text into the configuration, or says what is wrong with it, as the end of a sentence.
pub(super) type SetText = fn(&mut Config, &str) -> Result<(), String>;

/// What may be asked for besides serving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Switch {
    Check,
    PrintConfig,
    Version,
    Help,
}

/// Where an option may be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// On the command line by its name, in the environment, in the file.
    Everywhere,
    /// The same, but on the command line without a name.
    Positional,
    /// Not in the file.
    OutsideFile,
    /// Only on the command line.
    CommandLine,
}

/// A group of options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    Application,
    Python,
    Pool,
    Listening,
    Requests,
    Server,
}

/// The groups in the order in which they are shown.
pub(super) const SECTIONS: &[Section] = &[
    Section::Application,
    Section::Python,
    Section::Pool,
    Section::Listening,
    Section::Requests,
    Section::Server,
];

impl Opt {
    /// The variable of the environment that gives this option.
    pub(super) fn variable(&self) -> Option<String> {
        (self.place != Place::CommandLine).then(|| variable(self.name))
    }

    /// The variable of this name gives this option.
    pub(super) fn is_variable(&self, name: &str) -> bool {
        let also = |also: &&str| variable(also) == name;
        self.variable().is_some_and(|variable| variable == name) || self.also.iter().any(also)
    }

    /// The option may stand in the file.
    pub(super) fn in_file(&self) -> bool {
        matches!(self.place, Place::Everywhere | Place::Positional)
    }

    /// A change of it in the file takes effect only when the server is started again: what listens and what has been laid
    /// out in memory stays, and so does everything about connections.
    pub(super) fn needs_restart(&self) -> bool {
        matches!(
            self.section,
            Section::Listening | Section::Requests | Section::Server
        ) || matches!(self.name, "python" | "threads" | "mpm" | "server-limit")
    }

    /// The option is called so on the command line.
    pub(super) fn is_called(&self, name: &str) -> bool {
        self.name == name || self.also.contains(&name)
    }

    /// The option takes any number of values.
    pub(super) fn is_list(&self) -> bool {
        matches!(self.kind, Kind::List(_))
    }
}

fn variable(name: &str) -> String {
    format!("RWSGI_{}", name.to_uppercase().replace('-', "_"))
}

impl Kind {
    /// What a value must be, where that can be said in a few words.
    pub(super) fn takes(&self) -> Option<String> {
        match self {
            Self::Count(bounds, _) => Some(format!(
                "a whole number from {} to {}",
                bounds.start(),
                bounds.end()
            )),
            Self::Size(bounds, _) => Some(format!(
                "a size from {} to {}",
                show_size(*bounds.start()),
                show_size(*bounds.end())
            )),
            Self::Time(bounds, _) => Some(format!(
                "a time from {} to {}",
                show_time(*bounds.start()),
                show_time(*bounds.end())
            )),
            Self::CountOr(bounds, _, (word, _)) => Some(format!(
                "a whole number from {} to {}, or {word}",
                bounds.start(),
                bounds.end()
            )),
            Self::SizeOr(bounds, _, words) => {
                let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
                Some(format!(
                    "a size from {} to {}, or one of {}",
                    show_size(*bounds.start()),
                    show_size(*bounds.end()),
                    words.join(", ")
                ))
            }
            Self::Flag(_) => Some("on or off".to_owned()),
            Self::Choice(choices) => {
                let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
                Some(format!("one of {}", names.join(", ")))
            }
            Self::Switch(_) | Self::Path(_) | Self::Text(_) | Self::List(_) => None,
        }
    }
}
