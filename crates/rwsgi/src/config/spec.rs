//! What an option is: the shape of a row of the table.

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
    /// Its letter on the command line.
    pub(crate) letter: Option<char>,
    /// Other names of it, on the command line and in the file.
    pub(crate) also: &'static [&'static str],
    /// Apache's directives of the same meaning and the same units: other keys in the file.
    pub(crate) apache: &'static [&'static str],
    /// What it is called elsewhere, as program and name: for the reader, and for the hint at a wrong name.
    pub(crate) elsewhere: &'static [(&'static str, &'static str)],
    /// Where it stands in `--help` and in the reference.
    pub(crate) section: Section,
    /// Where it may be given.
    pub(crate) place: Place,
    /// When a change of it in the file takes effect.
    pub(crate) change: Change,
    /// The kind of pool that it makes, when it is given.
    pub(crate) makes: Option<Makes>,
    /// Where a relative path in its value is taken from.
    pub(crate) relative_to: RelativeTo,
    /// It means something of its own that the option is not given, though its kind has values for everything.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "a test looks for missing defaults")
    )]
    pub(crate) may_be_unset: bool,
    /// What it means that it is given, be it with its default.
    pub(crate) given: Option<Set>,
    /// What stands for its value in `--help`; empty for a switch.
    pub(crate) value: &'static str,
    /// Its value when it is not given; without one it is then not set.
    pub(crate) default: Option<&'static str>,
    /// For `--help`.
    pub(crate) short: &'static str,
    /// For the reference, after `short`.
    #[cfg_attr(not(test), expect(dead_code, reason = "a test writes the reference"))]
    pub(crate) long: &'static str,
    /// What it takes, and what it does to the configuration.
    pub(crate) kind: Kind,
}

/// What most rows have in common.
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

/// The longest time of most options.
pub(crate) const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// The shortest time that is not none.
pub(crate) const TICK: Duration = Duration::from_millis(1);

/// A number within the bounds of its row, as the type of its field.
pub(crate) fn narrow<T: TryFrom<u64>>(number: u64) -> T
where
    T::Error: std::fmt::Debug,
{
    T::try_from(number).expect("the bounds of a row fit its field")
}

/// What an option takes, and how a value within its bounds is put into the configuration.
#[derive(Debug)]
pub(crate) enum Kind {
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
    /// A path.
    Path(fn(&mut Config, PathBuf)),
    /// The path of a folder that must be there.
    Folder(fn(&mut Config, PathBuf)),
    /// Text; the setter says what is wrong with it.
    Text(SetText),
    /// Any number of texts, set one by one.
    List(SetText),
    /// The same, of names and values: a table in the file.
    Pairs(SetText),
}

/// Puts a choice into the configuration.
pub(crate) type Set = fn(&mut Config);

/// Puts a text into the configuration, or says what is wrong with it, as the end of a sentence. The path is the folder from
/// which relative paths are taken.
pub(crate) type SetText = fn(&mut Config, &str, &Path) -> Result<(), String>;

/// When a change of an option in the file takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// With a reload.
    WithReload,
    /// When the server is started again: what listens and what has been laid out in memory stays, and so does everything
    /// about connections.
    AfterRestart,
}

/// A kind of pool that an option makes. Options that make different kinds cannot be given together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Makes {
    FixedPool,
    ElasticPool,
}

/// Where relative paths are taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RelativeTo {
    /// The folder in which the server is started.
    Start,
    /// The folder of the application, `--chdir`.
    Application,
}

/// What may be asked for besides serving.
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
pub(crate) enum Section {
    Application,
    Python,
    Pool,
    Listening,
    Requests,
    Server,
}

/// The groups in the order in which they are shown.
pub(crate) const SECTIONS: &[Section] = &[
    Section::Application,
    Section::Python,
    Section::Pool,
    Section::Listening,
    Section::Requests,
    Section::Server,
];

impl Opt {
    /// The variable of the environment that gives this option.
    pub(crate) fn variable(&self) -> Option<String> {
        (self.place != Place::CommandLine).then(|| variable(self.name))
    }

    /// The variable of this name gives this option.
    pub(crate) fn is_variable(&self, name: &str) -> bool {
        let also = |also: &&str| variable(also) == name;
        self.variable().is_some_and(|variable| variable == name) || self.also.iter().any(also)
    }

    /// The option may stand in the file.
    pub(crate) fn in_file(&self) -> bool {
        matches!(self.place, Place::Everywhere | Place::Positional)
    }

    /// A change of it in the file takes effect only when the server is started again.
    pub(crate) fn needs_restart(&self) -> bool {
        self.change == Change::AfterRestart
    }

    /// The option is called so on the command line.
    pub(crate) fn is_called(&self, name: &str) -> bool {
        self.name == name || self.also.contains(&name)
    }

    /// The option takes any number of values.
    pub(crate) fn is_list(&self) -> bool {
        matches!(self.kind, Kind::List(_) | Kind::Pairs(_))
    }
}

fn variable(name: &str) -> String {
    format!("RWSGI_{}", name.to_uppercase().replace('-', "_"))
}

impl Kind {
    /// What a value must be, where that can be said in a few words.
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
