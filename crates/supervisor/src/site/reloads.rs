//! The state of reloads: the running one, and the waiters.

use std::fmt;
use std::time::Duration;

use exchange::ChildId;

use crate::config::Settings;

/// Reloads run one at a time; requests meanwhile are combined into one more.
#[derive(Default)]
pub(crate) struct Reloads {
    pub(crate) running: Option<Reload>,
    /// The waiters of a requested reload that has not begun.
    pub(crate) asked: Option<Vec<Waiter>>,
    pub(crate) progress: Progress,
    /// The number of the newest generation, even if it failed.
    pub(crate) newest: u32,
}

/// A running reload.
pub(crate) struct Reload {
    pub(crate) generation: u32,
    pub(crate) stage: Step,
    /// The last progress, from which timeouts count.
    pub(crate) since: Duration,
    /// The settings for the new generation.
    pub(crate) settings: Settings,
    /// Changed options that need a restart.
    pub(crate) need_restart: Vec<&'static str>,
    /// Whether its mold loads the application.
    pub(crate) preload: bool,
    pub(crate) waiters: Vec<Waiter>,
}

/// The step of a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Its mold is to be forked.
    Mold,
    /// Its mold loads the application.
    Loading,
    /// Its mold is ready, and waits for a free slot for the first child.
    WaitsForSlot,
    /// Its first child starts.
    Trial(ChildId),
    /// It is the current one; this many children of the old one still take requests.
    Replacing(usize),
}

impl fmt::Debug for Reloads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reloads")
            .field("running", &self.running.as_ref().map(|reload| reload.stage))
            .field("asked", &self.asked.is_some())
            .finish()
    }
}

/// The result of a reload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reloaded {
    /// All children that take requests belong to the new generation.
    Done {
        /// Its number.
        generation: u32,
        /// Changed options that take effect only after a restart.
        need_restart: Vec<&'static str>,
    },
    /// The old generation continues to serve.
    Failed {
        /// The number of the failed generation, if it got one.
        generation: Option<u32>,
        /// Why: the traceback, or another reason.
        why: String,
    },
    /// The new generation serves, together with children of the old one.
    Unfinished {
        /// Why.
        why: String,
    },
}

/// A message to a waiter.
#[derive(Debug)]
pub(crate) enum News<'a> {
    /// The reload is running, and waits for this.
    GoesOn(&'a str),
    /// It has ended.
    Ended(&'a Reloaded),
}

/// A callback for the progress and the result of a reload.
pub(crate) type Waiter = Box<dyn FnMut(News<'_>)>;

/// What was last reported.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// The subject of the last progress message, if one was sent, and its time; `None` without waiters.
    pub(crate) reported: Option<(Option<Subject>, Duration)>,
}

/// What a reload waits for, without the duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// The start of the server.
    Start,
    /// A step of the new generation.
    Step(u32, Step),
}

impl Reloaded {
    /// Sends the result to all waiters.
    pub(crate) fn notify(&self, waiters: impl IntoIterator<Item = Waiter>) {
        for mut waiter in waiters {
            waiter(News::Ended(self));
        }
    }
}

/// A number of children in words.
pub(crate) fn children(count: usize) -> String {
    match count {
        1 => "1 child".to_owned(),
        count => format!("{count} children"),
    }
}
