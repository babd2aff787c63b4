//! The parsed options: plain data, complete and within bounds.

use std::path::PathBuf;
use std::time::Duration;

use pool::{Mpm, Recycling};
use supervisor::{Address, Group, Identity, User};

pub use crate::log::{LogFormat, LogLevel};
pub use wsgi::Target;

/// The configuration of a server. Every path is absolute.
///
/// The rows of the table are applied to its default value, which is seen only where a row has no default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// The application.
    pub app: Target,
    /// Variables for the file of PasteDeploy that the application is in.
    pub paste_global: Vec<(String, String)>,
    /// The addresses of the listeners.
    pub bind: Vec<Address>,
    /// `bind` was given; otherwise its default is replaced by sockets passed from systemd.
    pub bind_given: bool,
    /// The backlog of each listener.
    pub backlog: u32,
    /// Children of a fixed pool; 0 for a number that suits the machine.
    pub processes: u16,
    /// The given options of an elastic pool.
    pub elastic: Elastic,
    /// How an elastic pool grows.
    pub pool_policy: Policy,
    /// The memory that the server may use.
    pub memory_budget: Budget,
    /// When children are replaced.
    pub recycling: Recycling,
    /// Application threads of each child.
    pub threads: u16,
    /// Stack of each application thread, in bytes.
    pub stack_size: u64,
    /// How long the first child may take to become ready.
    pub startup_timeout: Duration,
    /// How long requests in flight may take when the server stops.
    pub shutdown_timeout: Duration,
    /// How long to go on serving after being told to stop.
    pub shutdown_delay: Duration,
    /// Files and folders whose change triggers a reload.
    pub touch_reload: Vec<PathBuf>,
    /// Changes of the application's modules trigger a reload, too.
    pub reload: bool,
    /// Changes of these files trigger a reload, too; patterns relative to the application's folder.
    pub reload_include: Vec<String>,
    /// Where the application is loaded.
    pub preload: Preload,
    /// Modules to import besides the application.
    pub import: Vec<String>,
    /// Paths or URLs requested in the mold before it is frozen.
    pub warmup: Vec<String>,
    /// `--warmup-failures`.
    pub warmup_failures: WarmupFailures,
    /// The mount point, without a trailing slash: empty for the root.
    pub script_name: String,
    /// The folder of the application.
    pub chdir: Option<PathBuf>,
    /// Folders prepended to `sys.path`.
    pub python_path: Vec<PathBuf>,
    /// A Python interpreter, or the folder of a virtual environment.
    pub python: Option<PathBuf>,
    /// Environment variables of the application, each once: those of `env_file`, overridden by `--env`.
    pub env: Vec<(String, String)>,
    /// The file from which `env` was read.
    pub env_file: Option<PathBuf>,
    /// The settings of the front.
    pub front: front::Settings,
    /// The maximum of requests that wait for an application thread.
    pub max_queue: u32,
    /// The user of the application and the front.
    pub user: Option<User>,
    /// Their group, if it is not the user's own.
    pub group: Option<Group>,
    /// User and group resolved, if they were given.
    pub identity: Option<Identity>,
    /// The umask.
    pub umask: Option<u32>,
    /// The target of the access log, if any.
    pub access_log: Option<AccessTarget>,
    /// `access-log` was given, even as `off`.
    pub access_log_given: bool,
    /// The format of its lines.
    pub access_log_format: front::access_log::Format,
    /// The minimum severity of logged lines.
    pub log_level: LogLevel,
    /// The format of the log.
    pub log_format: LogFormat,
    /// The place of the control socket.
    pub control: ControlPlace,
    /// The group that may use it, besides the server's user and root.
    pub control_group: Option<Group>,
    /// The file for the supervisor's process id, if any.
    pub pid_file: Option<PathBuf>,
    /// The configuration file that was read.
    pub file: Option<PathBuf>,
    /// Environment variables that look like options and are none, for a warning.
    pub ignored: Vec<String>,
}

/// Where the application is loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Preload {
    /// In the mold, unless the audit finds what cannot be shared.
    #[default]
    Auto,
    /// In the mold.
    On,
    /// In each child.
    Off,
}

/// The effect of a failed warm-up request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WarmupFailures {
    /// The application counts as not loadable.
    #[default]
    Fail,
    /// A warning.
    Warn,
}

/// The given options of an elastic pool; of a fixed one, at most the limit of children.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the options")]
pub struct Elastic {
    pub mpm: Option<Mpm>,
    pub start_servers: Option<u32>,
    pub min_spare_servers: Option<u32>,
    pub max_spare_servers: Option<u32>,
    pub min_spare_threads: Option<u32>,
    pub max_spare_threads: Option<u32>,
    pub max_clients: Option<u32>,
    pub server_limit: Option<u32>,
}

/// How an elastic pool grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// With limits on starting children, so that their imports do not overload the machine.
    #[default]
    Safe,
    /// Exactly as Apache does.
    Apache,
}

/// The memory that the server may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Budget {
    /// No limit.
    #[default]
    Off,
    /// The memory of the control group or the machine, less a reserve.
    Auto,
    /// A number of bytes.
    Bytes(u64),
}

/// The place of the control socket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ControlPlace {
    /// In the user's runtime folder.
    #[default]
    Usual,
    /// At this path.
    At(PathBuf),
    /// No control socket.
    Off,
}

/// The target of the access log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessTarget {
    /// An inherited descriptor.
    Descriptor(i32),
    /// A file.
    File(PathBuf),
}

impl Config {
    /// Which of Apache's MPMs the elastic pool follows; `None` when the pool is fixed.
    #[must_use]
    pub fn mpm(&self) -> Option<Mpm> {
        let unset = Elastic {
            server_limit: self.elastic.server_limit,
            ..Elastic::default()
        };
        let by_threads = if self.threads == 1 {
            Mpm::Prefork
        } else {
            Mpm::Worker
        };
        self.elastic
            .mpm
            .or_else(|| (self.elastic != unset).then_some(by_threads))
    }
}
