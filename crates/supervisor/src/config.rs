//! What the operator has set.

use std::ffi::OsString;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::process::identity::Identity;
use crate::site::watch::Include;

/// A site: an application with its own exchange, molds and children.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SiteId(pub u16);

/// What the operator has set.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How many children to keep. The exchange has places for one more than there may ever be.
    pub pool: pool::Pool,
    /// The pool is to have always the same size, memory permitting.
    pub keeps_size: bool,
    /// When a child has lived long enough.
    pub recycling: pool::Recycling,
    /// Whether the application is loaded before children are forked.
    pub preload: Preload,
    /// How long a mold or a child may take until it is ready.
    pub startup_timeout: Duration,
    /// How long a graceful stop may take.
    pub shutdown_timeout: Duration,
    /// How long to serve on after being told to stop.
    pub shutdown_delay: Duration,
    /// Files and folders of which a change asks for a reload.
    pub touch_reload: Vec<PathBuf>,
    /// A change of the application's modules asks for a reload, too.
    pub watch_modules: bool,
    /// And so does a change of these, if one of the modules does.
    pub reload_include: Vec<Include>,
    /// Another server serves until this one does.
    pub takes_over: bool,
    /// What to start when this server is to be replaced by another.
    pub program: Program,
    /// The application's name, for the titles of processes.
    pub title: String,
    /// Who the front, molds and children are, if not who the supervisor is.
    pub identity: Option<Identity>,
    /// Files that the front opens: made for its user when they are to be opened anew, since it may not do so itself.
    pub logs: Vec<PathBuf>,
}

/// Whether the application is loaded in the mold, before children are forked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preload {
    /// Yes, unless something in it cannot be shared with forked children.
    Auto,
    /// Yes, in any case.
    On,
    /// No: each child loads it.
    Off,
}

/// How this program was started: so it is started again.
#[derive(Clone, Debug)]
pub struct Program {
    /// The program, as a path that holds whatever folder is the current one.
    pub path: PathBuf,
    /// Its arguments, the name of the program first.
    pub arguments: Vec<OsString>,
    /// The folder in which it was started.
    pub folder: PathBuf,
    /// Its environment.
    pub environment: Vec<(OsString, OsString)>,
    /// Descriptors that it was started with and needs again, by the same numbers.
    pub descriptors: Vec<RawFd>,
}

/// What the configuration says now.
#[derive(Clone, Debug)]
pub struct Reread {
    /// What is to hold with the next generation.
    pub settings: Settings,
    /// Options that have changed and take effect only when the server is started again.
    pub need_restart: Vec<&'static str>,
}
