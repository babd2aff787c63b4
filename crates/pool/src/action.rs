//! What the rules decide.

use std::fmt;
use std::time::Duration;

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Build a mold.
    BuildMold,
    /// Kill the mold: its deadline has passed.
    KillMold,
    /// Order a child from the mold.
    Spawn {
        /// Its slot.
        slot: u16,
    },
    /// Kill a child: its deadline to be ready, or to leave, has passed.
    Kill {
        /// Its slot.
        slot: u16,
    },
    /// Mark a child as to be replaced: it is [`crate::Child::Outgoing`] from now on.
    Replace {
        /// Its slot.
        slot: u16,
        /// Why.
        reason: Reason,
    },
    /// Tell a child to take no further request and to leave when it holds none (Apache's pipe of death).
    Retire {
        /// Its slot.
        slot: u16,
    },
    /// Log a message.
    Log(Message),
    /// Stop the server: starting more children cannot help.
    GiveUp(GiveUp),
    /// If nothing happens before, call again at this time, which is in the future.
    LookAgain {
        /// When.
        at: Duration,
    },
}

/// Why a child is replaced. Shown as the option, or the signal, that asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It belongs to an earlier generation.
    Reload,
    /// It has answered enough requests.
    MaxRequests,
    /// It is old enough.
    RestartInterval,
    /// It has been idle for long enough.
    InactivityTimeout,
    /// It has become too large.
    MaxChildMemory,
    /// It has got SIGTERM.
    Term,
}

/// Messages for the log, in Apache's wording where Apache has the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// The pool grows by eight children a second or more.
    Busy {
        /// Children that are started now; of prefork the rate, even if fewer slots are left.
        spawning: u16,
        /// Application threads that are idle.
        idle: u32,
        /// Children that there are.
        total: u16,
    },
    /// Children are lacking, and there are as many as `MaxRequestWorkers` allows. Apache logs it once, the safe rule once
    /// until the pool has shrunk.
    ReachedMaxRequestWorkers,
    /// The same, with threads of the last children still idle. Logged once, by worker only.
    NearMaxRequestWorkers,
    /// Children are lacking, and slots are held by children that are starting or leaving. By worker only.
    ScoreboardFull,
    /// Three children in succession were killed by signals, then every tenth. By worker only.
    KilledSuccessively,
    /// Children are lacking, and the memory budget has no room. Logged once until the pool has shrunk.
    ReachedMemoryBudget {
        /// The budget in bytes.
        budget: u64,
        /// Children that it has room for.
        children: u16,
    },
}

/// Why the server cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GiveUp {
    /// A child ended for a reason that would end every other one, too.
    FatalExit {
        /// Its slot.
        slot: u16,
    },
    /// A child was sick before any was ever healthy. By worker only.
    NeverHealthy,
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy {
                spawning,
                idle,
                total,
            } => write!(
                f,
                "server seems busy, (you may need to increase StartServers, ThreadsPerChild or Min/MaxSpareServers or \
                 -Threads), spawning {spawning} children, there are {idle} idle, and {total} total children"
            ),
            Self::ReachedMaxRequestWorkers => f.write_str(
                "server reached MaxRequestWorkers setting, consider raising the MaxRequestWorkers setting",
            ),
            Self::NearMaxRequestWorkers => f.write_str(
                "server is within MinSpareThreads of MaxRequestWorkers, consider raising the MaxRequestWorkers setting",
            ),
            Self::ScoreboardFull => f.write_str("scoreboard is full, not at MaxRequestWorkers"),
            Self::KilledSuccessively => f.write_str("children are killed successively"),
            Self::ReachedMemoryBudget { budget, children } => write!(
                f,
                "server reached the memory budget of {budget} bytes, which holds {children} children"
            ),
        }
    }
}

impl fmt::Display for GiveUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FatalExit { slot } => {
                write!(f, "child {slot} ended for a reason that none would escape")
            }
            Self::NeverHealthy => {
                f.write_str("a resource shortage was met before any child started successfully")
            }
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reload => "reload",
            Self::MaxRequests => "max-requests",
            Self::RestartInterval => "restart-interval",
            Self::InactivityTimeout => "inactivity-timeout",
            Self::MaxChildMemory => "max-child-memory",
            Self::Term => "SIGTERM",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_say_what_apache_says() {
        let busy = Message::Busy {
            spawning: 8,
            idle: 1,
            total: 12,
        };
        assert!(
            busy.to_string()
                .starts_with("server seems busy, (you may need to increase")
        );
        assert!(
            busy.to_string()
                .ends_with("spawning 8 children, there are 1 idle, and 12 total children")
        );
        let reached = Message::ReachedMaxRequestWorkers.to_string();
        assert!(reached.starts_with("server reached MaxRequestWorkers setting"));
        let near = Message::NearMaxRequestWorkers.to_string();
        assert!(near.starts_with("server is within MinSpareThreads of MaxRequestWorkers"));
    }

    #[test]
    fn messages_that_apache_does_not_have_show_their_numbers() {
        let budget = Message::ReachedMemoryBudget {
            budget: 1024,
            children: 3,
        };
        assert_eq!(
            budget.to_string(),
            "server reached the memory budget of 1024 bytes, which holds 3 children"
        );
        assert_eq!(
            GiveUp::FatalExit { slot: 2 }.to_string(),
            "child 2 ended for a reason that none would escape"
        );
    }
}
