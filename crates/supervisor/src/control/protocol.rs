//! What is said over the control socket.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::SiteId;

/// Whoever waits for an answer is told at least so often that it is still to come.
pub const PROGRESS_EVERY: Duration = Duration::from_secs(10);

/// What the server is asked to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "lowercase", deny_unknown_fields)]
pub enum Command {
    /// To tell what it consists of and how busy it is.
    Status,
    /// To stop. The connection stays open until the server has ended.
    Stop {
        /// Without finishing the requests in flight.
        #[serde(default)]
        now: bool,
    },
    /// To load the application anew. The answer comes when the new generation serves, or has come to nothing.
    Reload,
    /// To keep so many children, until the next reload.
    Scale {
        /// How many; of an elastic pool, how many at most.
        children: u16,
    },
}

/// What the server says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "lowercase")]
pub enum Answer {
    /// What it consists of.
    Status(Box<Status>),
    /// What was asked for is being done; another answer follows.
    Progress {
        /// What it waits for, in a line.
        message: String,
    },
    /// What was asked for has been done, or begun.
    Done {
        /// What that was.
        message: String,
    },
    /// It has not been done.
    Failed {
        /// Why, in a line.
        reason: String,
        /// What the application's code said, if that was it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        traceback: Option<String>,
    },
}

/// A server at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The server's version.
    pub version: String,
    /// The application.
    pub application: String,
    /// Where clients find it; empty when it takes no new connections.
    pub urls: Vec<String>,
    /// `starting`, `serving`, `reloading` or `stopping`.
    pub state: String,
    /// The generation that serves.
    pub generation: u32,
    /// Children that the pool is to have; of an elastic one, at most.
    pub size: u16,
    /// Application threads of each child.
    pub threads: u16,
    /// Threads that have a request.
    pub busy: u32,
    /// Threads of ready children that have none.
    pub idle: u32,
    /// Requests that wait for a thread.
    pub waiting: u32,
    /// The process that supervises.
    pub supervisor: SupervisorStatus,
    /// The process that has the connections, when there is one.
    pub front: Option<FrontStatus>,
    /// The process that forks children, when there is one.
    pub mold: Option<MoldStatus>,
    /// That of a generation that is being loaded.
    #[serde(default)]
    pub next_mold: Option<MoldStatus>,
    /// The processes that run the application, by slot.
    pub children: Vec<ChildStatus>,
    /// Each site by itself; what stands above is of all of them together, and of the first where it cannot be of all.
    #[serde(default)]
    pub sites: Vec<SiteStatus>,
}

/// A site: an application with processes of its own, which name it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SiteStatus {
    /// Its number.
    pub site: SiteId,
    /// The application.
    pub application: String,
    /// The generation that serves.
    pub generation: u32,
    /// Children that the pool is to have; of an elastic one, at most.
    pub size: u16,
    /// Application threads of each child.
    pub threads: u16,
    /// Threads that have a request.
    pub busy: u32,
    /// Threads of ready children that have none.
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

/// A process. The server does not measure itself, which would cost it time: whoever asks does.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Process {
    /// Its number; 0 before it is born.
    pub pid: u32,
    /// How long it has been there.
    #[serde(default)]
    pub age_seconds: Option<f64>,
    /// Memory that it shares with nobody.
    #[serde(default)]
    pub private_bytes: Option<u64>,
}

impl Process {
    /// A process that nobody has measured.
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
    fn a_command_is_a_line_that_says_no_more_than_it_may() {
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
