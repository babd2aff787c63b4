//! What the options mean: plain data, complete and within bounds.

use std::path::PathBuf;
use std::time::Duration;

use pool::{Mpm, Recycling};
use supervisor::{Address, Group, Identity, User};

pub use crate::log::{LogFormat, LogLevel};
pub use wsgi::Target;

/// Everything that a server is told. Every path is absolute.
///
/// Its default is what the rows of the table are applied to, and is seen only where a row has no default of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// The application.
    pub app: Target,
    /// Where to listen.
    pub bind: Vec<Address>,
    /// `bind` was given; otherwise it is the default, which sockets passed by systemd replace.
    pub bind_given: bool,
    /// Connections that the kernel holds ready for `accept`.
    pub backlog: u32,
    /// Children in a fixed pool; 0 for as many as suit the machine.
    pub processes: u16,
    /// What was given of an elastic pool.
    pub elastic: Elastic,
    /// How an elastic pool grows.
    pub pool_policy: Policy,
    /// What the server may use.
    pub memory_budget: Budget,
    /// When children are replaced.
    pub recycling: Recycling,
    /// Application threads of each child.
    pub threads: u16,
    /// Stack of each application thread, in bytes.
    pub stack_size: u64,
    /// Time for the first child to become ready.
    pub startup_timeout: Duration,
    /// Time for requests in flight to finish when the server stops.
    pub shutdown_timeout: Duration,
    /// How long to serve on after being told to stop.
    pub shutdown_delay: Duration,
    /// Files and folders of which a change asks for a reload.
    pub touch_reload: Vec<PathBuf>,
    /// Changes of the application's modules ask for a reload, too.
    pub reload: bool,
    /// And so do changes of these files, as patterns relative to the folder of the application.
    pub reload_include: Vec<String>,
    /// Where the application is imported.
    pub preload: Preload,
    /// Modules to import besides the application.
    pub import: Vec<String>,
    /// Paths or URLs requested in the mold before it is frozen.
    pub warmup: Vec<String>,
    /// `--warmup-failures`.
    pub warmup_failures: WarmupFailures,
    /// Mount point, without the slash at its end: empty for the root.
    pub script_name: String,
    /// Folder to change to.
    pub chdir: Option<PathBuf>,
    /// Folders put in front of `sys.path`.
    pub python_path: Vec<PathBuf>,
    /// A Python interpreter, or the folder of a virtual environment.
    pub python: Option<PathBuf>,
    /// Variables set in the application's environment, each once: those of `env_file`, overruled by `--env`.
    pub env: Vec<(String, String)>,
    /// The file that `env` was read from; nothing is left to be done with it.
    pub env_file: Option<PathBuf>,
    /// What the front is told.
    pub front: front::Settings,
    /// Most requests that wait for an application thread.
    pub max_queue: u32,
    /// Who the application and the front run as.
    pub user: Option<User>,
    /// Their group, when it is not the user's own.
    pub group: Option<Group>,
    /// What the two come to, if they were given.
    pub identity: Option<Identity>,
    /// What the files that are made may not allow.
    pub umask: Option<u32>,
    /// Where each request leaves a line, if anywhere.
    pub access_log: Option<AccessTarget>,
    /// `access-log` was given, be it to have none.
    pub access_log_given: bool,
    /// What that line says.
    pub access_log_format: front::access_log::Format,
    /// What is logged.
    pub log_level: LogLevel,
    /// What the lines of the log look like.
    pub log_format: LogFormat,
    /// Where the control socket is.
    pub control: ControlPlace,
    /// Who may use it beside the server's own user and root.
    pub control_group: Option<Group>,
    /// Where the supervisor's number is written, if anywhere.
    pub pid_file: Option<PathBuf>,
    /// The configuration file that was read.
    pub file: Option<PathBuf>,
    /// Variables of the environment that look like options and are none, to be told.
    pub ignored: Vec<String>,
}

/// Where the application is imported.
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

/// What comes of a request of the warm-up that fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WarmupFailures {
    /// The application counts as one that cannot be loaded.
    #[default]
    Fail,
    /// A warning.
    Warn,
}

/// What was given of an elastic pool; nothing of a fixed one, but perhaps the limit of children.
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
    /// Without a snowball.
    #[default]
    Safe,
    /// To Apache's letter.
    Apache,
}

/// What the server may use of memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Budget {
    /// As much as it takes.
    #[default]
    Off,
    /// What the control group or the machine has, less a reserve.
    Auto,
    /// So many bytes.
    Bytes(u64),
}

/// Where the control socket is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ControlPlace {
    /// In the runtime folder of the user.
    #[default]
    Usual,
    /// Here.
    At(PathBuf),
    /// Nowhere.
    Off,
}

/// Where the access log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessTarget {
    /// To a descriptor that the server was started with.
    Descriptor(i32),
    /// To this file.
    File(PathBuf),
}

impl Config {
    /// Whose elastic pool there is to be; none when the pool is fixed.
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
