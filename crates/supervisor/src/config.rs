//! The settings of the supervisor.

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

/// The settings of the supervisor.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How many children to keep. The exchange has one place more than the pool may ever have children.
    pub pool: pool::Pool,
    /// The pool keeps a constant size, as far as memory allows.
    pub keeps_size: bool,
    /// When children are replaced.
    pub recycling: pool::Recycling,
    /// Whether the application is loaded before children are forked.
    pub preload: Preload,
    /// How long a mold or a child may take to become ready.
    pub startup_timeout: Duration,
    /// How long a graceful stop may take.
    pub shutdown_timeout: Duration,
    /// How long to go on serving after being told to stop.
    pub shutdown_delay: Duration,
    /// Files and folders whose change triggers a reload.
    pub touch_reload: Vec<PathBuf>,
    /// A change of the application's modules also triggers a reload.
    pub watch_modules: bool,
    /// With `watch_modules`, a change of these triggers a reload, too.
    pub reload_include: Vec<Include>,
    /// Another server serves until this one is ready.
    pub takes_over: bool,
    /// The program that is started to replace this server.
    pub program: Program,
    /// The application's name, for the titles of processes.
    pub title: String,
    /// The user of the front, molds and children, if it differs from the supervisor's.
    pub identity: Option<Identity>,
    /// Log files that the front opens. The supervisor creates them for the front's user before they are reopened,
    /// because the front may not be permitted to.
    pub logs: Vec<PathBuf>,
}

/// Whether the application is loaded in the mold, before children are forked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preload {
    /// Yes, unless something cannot be shared with forked children.
    Auto,
    /// Yes, in any case.
    On,
    /// No: each child loads it.
    Off,
}

/// How this program was started, to start it again.
#[derive(Clone, Debug)]
pub struct Program {
    /// The program, as a path that does not depend on the current folder.
    pub path: PathBuf,
    /// The arguments, including the program name.
    pub arguments: Vec<OsString>,
    /// The folder in which it was started.
    pub folder: PathBuf,
    /// Its environment.
    pub environment: Vec<(OsString, OsString)>,
    /// Inherited descriptors that it needs again under the same numbers.
    pub descriptors: Vec<RawFd>,
}

/// The configuration after it was read again.
#[derive(Clone, Debug)]
pub struct Reread {
    /// The settings of the next generation.
    pub settings: Settings,
    /// Changed options that take effect only after a restart.
    pub need_restart: Vec<&'static str>,
}
