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
    /// Apache's directive of the same meaning and the same units: another key in the file.
    pub(super) apache: Option<&'static str>,
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
        (self.place != Place::CommandLine)
            .then(|| format!("RWSGI_{}", self.name.to_uppercase().replace('-', "_")))
    }

    /// The option may stand in the file.
    pub(super) fn in_file(&self) -> bool {
        matches!(self.place, Place::Everywhere | Place::Positional)
    }

    /// The option takes any number of values.
    pub(super) fn is_list(&self) -> bool {
        matches!(self.kind, Kind::List(_))
    }
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
            Self::Choice(choices) => {
                let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
                Some(format!("one of {}", names.join(", ")))
            }
            Self::Switch(_) | Self::Path(_) | Self::Text(_) | Self::List(_) => None,
        }
    }
}
