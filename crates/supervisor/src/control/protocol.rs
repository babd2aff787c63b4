//! The messages of the control socket.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::SiteId;

/// The maximum interval between progress lines to a client that waits.
pub const PROGRESS_EVERY: Duration = Duration::from_secs(10);

/// A command to the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "lowercase", deny_unknown_fields)]
pub enum Command {
    /// Report the server's processes and load.
    Status,
    /// Stop. The connection stays open until the server has ended.
    Stop {
        /// Without finishing the requests in flight.
        #[serde(default)]
        now: bool,
    },
    /// Load the application anew. The answer follows when the new generation serves, or has failed.
    Reload,
    /// Keep this many children, until the next reload.
    Scale {
        /// The number of children; for an elastic pool, the maximum.
        children: u16,
    },
}

/// A line from the server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "lowercase")]
pub enum Answer {
    /// The processes and the load.
    Status(Box<Status>),
    /// The command is being executed; another answer follows.
    Progress {
        /// What the server waits for, in one line.
        message: String,
    },
    /// The command was executed, or its execution has begun.
    Done {
        /// What was done.
        message: String,
    },
    /// The command failed.
    Failed {
        /// The reason, in one line.
        reason: String,
        /// The traceback, if the application raised an exception.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        traceback: Option<String>,
    },
}

/// The state of a server at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The server's version.
    pub version: String,
    /// The application.
    pub application: String,
    /// Its addresses for clients; empty when it accepts no new connections.
    pub urls: Vec<String>,
    /// `starting`, `serving`, `reloading` or `stopping`.
    pub state: String,
    /// The generation that serves.
    pub generation: u32,
    /// Children that the pool should have; for an elastic pool, the maximum.
    pub size: u16,
    /// Application threads of each child.
    pub threads: u16,
    /// Threads that have a request.
    pub busy: u32,
    /// Threads of ready children without a request.
    pub idle: u32,
    /// Requests that wait for a thread.
    pub waiting: u32,
    /// The supervisor process.
    pub supervisor: SupervisorStatus,
    /// The front process, if there is one.
    pub front: Option<FrontStatus>,
    /// The mold process, if there is one.
    pub mold: Option<MoldStatus>,
    /// The mold of a generation that is being loaded.
    #[serde(default)]
    pub next_mold: Option<MoldStatus>,
    /// The child processes, by slot.
    pub children: Vec<ChildStatus>,
    /// Each site. The values above are totals of all sites, or those of the first site where a total makes no
    /// sense.
    #[serde(default)]
    pub sites: Vec<SiteStatus>,
}

/// The state of a site.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SiteStatus {
    /// Its number.
    pub site: SiteId,
    /// The application.
    pub application: String,
    /// The generation that serves.
    pub generation: u32,
    /// Children that the pool should have; for an elastic pool, the maximum.
    pub size: u16,
    /// Application threads of each child.
    pub threads: u16,
    /// Threads that have a request.
    pub busy: u32,
    /// Threads of ready children without a request.
    pub idle: u32,
    /// Requests that wait for a thread.
    pub waiting: u32,
}

/// The supervisor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SupervisorStatus {
    /// The process.
    #[serde(flatten)]
    pub process: Process,
}

/// The front.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FrontStatus {
    /// The process.
    #[serde(flatten)]
    pub process: Process,
    /// `starting`, `serving` or `draining`.
    pub state: String,
}

/// A mold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MoldStatus {
    /// The process.
    #[serde(flatten)]
    pub process: Process,
    /// The site.
    #[serde(default)]
    pub site: SiteId,
    /// The generation.
    pub generation: u32,
    /// `loading`, `ready` or `leaving`.
    pub state: String,
}

/// A child.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChildStatus {
    /// The slot.
    pub slot: u16,
    /// The process.
    #[serde(flatten)]
    pub process: Process,
    /// The site.
    #[serde(default)]
    pub site: SiteId,
    /// The generation.
    pub generation: u32,
    /// `starting`, `ready` or `leaving`.
    pub state: String,
    /// Threads that have a request.
    pub busy: u16,
    /// Requests answered.
    pub served: u64,
}

/// A process. `rwsgictl` measures it, not the server, whose loop would be delayed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Process {
    /// The process id; 0 before the process is born.
    pub pid: u32,
    /// Its age in seconds.
    #[serde(default)]
    pub age_seconds: Option<f64>,
    /// Bytes of memory that it shares with no other process.
    #[serde(default)]
    pub private_bytes: Option<u64>,
}

impl Process {
    /// A process without measurements.
    #[must_use]
    pub fn of(pid: u32) -> Self {
        Self {
            pid,
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_members_of_a_command_are_refused() {
        let read = |text| serde_json::from_str::<Command>(text).ok();
        assert_eq!(read(r#"{"command":"status"}"#), Some(Command::Status));
        assert_eq!(
            read(r#"{"command":"stop"}"#),
            Some(Command::Stop { now: false })
        );
        assert_eq!(
            read(r#"{"command":"stop","now":true}"#),
            Some(Command::Stop { now: true })
        );
        assert_eq!(
            read(r#"{"command":"scale","children":3}"#),
            Some(Command::Scale { children: 3 })
        );
        for text in [
            "",
            "{}",
            "status",
            r#"{"command":"start"}"#,
            r#"{"command":"stop","now":1}"#,
            r#"{"command":"stop","later":true}"#,
            r#"{"command":"scale"}"#,
            r#"{"command":"scale","children":-1}"#,
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
