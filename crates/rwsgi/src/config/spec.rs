//! The definition of an option: a row of the table.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::configuration::Config;
use super::values::units::{show_size, show_time};

/// One option.
#[derive(Debug)]
pub(crate) struct Opt {
    /// Its long name, which is also its key in the file.
    pub(crate) name: &'static str,
    /// Its short option.
    pub(crate) letter: Option<char>,
    /// Further names on the command line and in the file.
    pub(crate) also: &'static [&'static str],
    /// Apache's directives with the same meaning and units, as further keys in the file.
    pub(crate) apache: &'static [&'static str],
    /// Its names in other programs, as program and name: for documentation, and for hints at unknown names.
    pub(crate) elsewhere: &'static [(&'static str, &'static str)],
    /// Its section in `--help` and in the reference.
    pub(crate) section: Section,
    /// Where it may be given.
    pub(crate) place: Place,
    /// When a change of it in the file takes effect.
    pub(crate) change: Change,
    /// The kind of pool that it selects, when it is given.
    pub(crate) makes: Option<Makes>,
    /// The folder to which a relative path refers.
    pub(crate) relative_to: RelativeTo,
    /// It may be without a default, because not being given has a meaning of its own.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "a test looks for missing defaults")
    )]
    pub(crate) may_be_unset: bool,
    /// Called when it is given, even with its default value.
    pub(crate) given: Option<Set>,
    /// The placeholder for its value in `--help`; empty for a switch.
    pub(crate) value: &'static str,
    /// Its default; without one it is unset unless given.
    pub(crate) default: Option<&'static str>,
    /// For `--help`.
    pub(crate) short: &'static str,
    /// For the reference, after `short`.
    #[cfg_attr(not(test), expect(dead_code, reason = "a test writes the reference"))]
    pub(crate) long: &'static str,
    /// The type of its value, and how it is put into the configuration.
    pub(crate) kind: Kind,
}

/// The common values of rows.
pub(crate) const ROW: Opt = Opt {
    name: "",
    letter: None,
    also: &[],
    apache: &[],
    elsewhere: &[],
    section: Section::Server,
    place: Place::Everywhere,
    change: Change::AfterRestart,
    makes: None,
    relative_to: RelativeTo::Start,
    may_be_unset: false,
    given: None,
    value: "",
    default: None,
    short: "",
    long: "",
    kind: Kind::Choice(&[]),
};

/// The maximum of most durations.
pub(crate) const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// The minimum of durations other than zero.
pub(crate) const TICK: Duration = Duration::from_millis(1);

/// Converts a number within the bounds of its row to the type of its field.
pub(crate) fn narrow<T: TryFrom<u64>>(number: u64) -> T
where
    T::Error: std::fmt::Debug,
{
    T::try_from(number).expect("the bounds of a row fit its field")
}

/// The type of an option's value, and the setter for a valid value.
#[derive(Debug)]
pub(crate) enum Kind {
    /// No value: a command other than serving.
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
    /// On or off; on the command line, the name alone means on.
    Flag(fn(&mut Config, bool)),
    /// One of these.
    Choice(&'static [(&'static str, Set)]),
    /// A path.
    Path(fn(&mut Config, PathBuf)),
    /// The path of a folder that must be there.
    Folder(fn(&mut Config, PathBuf)),
    /// Text; the setter validates it.
    Text(SetText),
    /// Any number of texts, set one after the other.
    List(SetText),
    /// Any number of names and values: a table in the file.
    Pairs(SetText),
}

/// Puts a choice into the configuration.
pub(crate) type Set = fn(&mut Config);

/// Puts a text into the configuration, or returns why it is invalid, as the end of a sentence. The path is the
/// folder to which relative paths refer.
pub(crate) type SetText = fn(&mut Config, &str, &Path) -> Result<(), String>;

/// When a change of an option in the file takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// With a reload.
    WithReload,
    /// At a restart: listeners and the layout of shared memory stay until then, and so do all settings of
    /// connections.
    AfterRestart,
}

/// A kind of pool. Options that select different kinds cannot be combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Makes {
    FixedPool,
    ElasticPool,
}

/// The folder to which relative paths refer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RelativeTo {
    /// The folder in which the server is started.
    Start,
    /// The folder of the application, `--chdir`.
    Application,
}

/// Commands other than serving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Switch {
    Check,
    PrintConfig,
    Version,
    Help,
}

/// Where an option may be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// On the command line, in the environment, in the file.
    Everywhere,
    /// The same, but as a positional argument.
    Positional,
    /// Not in the file.
    OutsideFile,
    /// Only on the command line.
    CommandLine,
}

/// A section of the options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Section {
    Application,
    Python,
    Pool,
    Listening,
    Requests,
    Server,
}

/// The sections in the order of display.
pub(crate) const SECTIONS: &[Section] = &[
    Section::Application,
    Section::Python,
    Section::Pool,
    Section::Listening,
    Section::Requests,
    Section::Server,
];

impl Opt {
    /// The environment variable of this option.
    pub(crate) fn variable(&self) -> Option<String> {
        (self.place != Place::CommandLine).then(|| variable(self.name))
    }

    /// Whether this is the environment variable of this option.
    pub(crate) fn is_variable(&self, name: &str) -> bool {
        let also = |also: &&str| variable(also) == name;
        self.variable().is_some_and(|variable| variable == name) || self.also.iter().any(also)
    }

    /// Whether the option may be given in the file.
    pub(crate) fn in_file(&self) -> bool {
        matches!(self.place, Place::Everywhere | Place::Positional)
    }

    /// Whether a change in the file takes effect only after a restart.
    pub(crate) fn needs_restart(&self) -> bool {
        self.change == Change::AfterRestart
    }

    /// Whether this is a name of the option on the command line.
    pub(crate) fn is_called(&self, name: &str) -> bool {
        self.name == name || self.also.contains(&name)
    }

    /// Whether the option takes any number of values.
    pub(crate) fn is_list(&self) -> bool {
        matches!(self.kind, Kind::List(_) | Kind::Pairs(_))
    }
}

fn variable(name: &str) -> String {
    format!("RWSGI_{}", name.to_uppercase().replace('-', "_"))
}

impl Kind {
    /// A short description of valid values, if there is one.
    pub(crate) fn takes(&self) -> Option<String> {
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
            Self::Switch(_)
            | Self::Path(_)
            | Self::Folder(_)
            | Self::Text(_)
            | Self::List(_)
            | Self::Pairs(_) => None,
        }
    }
}
