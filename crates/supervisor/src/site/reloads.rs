//! Reloads as they are kept: the one that goes on, and those who wait for it.

use std::fmt;
use std::time::Duration;

use exchange::ChildId;

use crate::config::Settings;

/// Reloads: one at a time, and whoever asks meanwhile asks for one more.
#[derive(Default)]
pub(crate) struct Reloads {
    pub(crate) running: Option<Reload>,
    /// Who has asked for one that has not begun.
    pub(crate) asked: Option<Vec<Waiter>>,
    pub(crate) progress: Progress,
    /// The number of the newest generation, whatever has come of it.
    pub(crate) newest: u32,
}

/// A generation on its way.
pub(crate) struct Reload {
    pub(crate) generation: u32,
    pub(crate) stage: Step,
    /// The last step forward, from which timeouts count.
    pub(crate) since: Duration,
    /// What was configured, to hold with the new generation.
    pub(crate) settings: Settings,
    /// What has changed and does not hold with it.
    pub(crate) need_restart: Vec<&'static str>,
    /// Whether its mold loads the application.
    pub(crate) preload: bool,
    pub(crate) waiters: Vec<Waiter>,
}

/// How far a new generation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Its mold is to be forked.
    Mold,
    /// Its mold loads the application.
    Loading,
    /// Its mold is ready, and no slot is free for its first child.
    WaitsForSlot,
    /// Its first child starts.
    Trial(ChildId),
    /// It is the current one; of the old one, so many children still take requests.
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

/// What came of a reload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reloaded {
    /// All children that take new requests belong to the new generation.
    Done {
        /// Its number.
        generation: u32,
        /// Options that have changed and do not hold before the server is started again.
        need_restart: Vec<&'static str>,
    },
    /// The old generation serves on.
    Failed {
        /// The number of the generation that came to nothing, if it came to one.
        generation: Option<u32>,
        /// Why: the traceback, or another reason.
        why: String,
    },
    /// The new generation serves, and so do some of the old one.
    Unfinished {
        /// Why.
        why: String,
    },
}

/// What somebody who waits for a reload is told.
#[derive(Debug)]
pub(crate) enum News<'a> {
    /// What it waits for.
    GoesOn(&'a str),
    /// It has ended.
    Ended(&'a Reloaded),
}

/// Somebody who wants to know what comes of a reload.
pub(crate) type Waiter = Box<dyn FnMut(News<'_>)>;

/// What has been told.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// What the reload waited for when that was last told, if it was, and when; nothing while nobody waits.
    pub(crate) told: Option<(Option<Subject>, Duration)>,
}

/// What a reload waits for, without how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// The server has just been started.
    Start,
    /// A step of the generation that is coming.
    Step(u32, Step),
}

impl Reloaded {
    /// Tells everybody.
    pub(crate) fn tell(&self, waiters: impl IntoIterator<Item = Waiter>) {
        for mut waiter in waiters {
            waiter(News::Ended(self));
        }
    }
}

/// So many children, in words.
pub(crate) fn children(count: usize) -> String {
    match count {
        1 => "1 child".to_owned(),
        count => format!("{count} children"),
    }
}
