//! The front, as the server knows it.

use std::time::Duration;

use exchange::notice::{FromFront, ToFront};
use nix::unistd::Pid;

use crate::ipc::channel::Channel;

/// The front.
#[derive(Debug)]
pub(crate) struct Front {
    pub(crate) pid: Pid,
    /// Gone once either side has closed it.
    pub(crate) link: Option<Channel<ToFront, FromFront>>,
    /// Since when it accepts connections.
    pub(crate) serving: Option<Duration>,
    pub(crate) drain: Drain,
    /// It is to open its log files anew, as soon as the line has room.
    pub(crate) reopen: bool,
    /// It is to let each answer be the last of its connection, as soon as the line has room.
    pub(crate) close: bool,
}

/// How far the front is with finishing its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Drain {
    /// Nobody asked for it.
    Unasked,
    /// To be told as soon as the line has room.
    Owed,
    /// Told.
    Asked,
    /// Every connection has ended.
    Done,
}

impl Front {
    /// The front as the rules see it.
    pub(super) fn observed(front: Option<&Self>) -> pool::Front {
        match front {
            None => pool::Front::Absent,
            Some(Self { serving: None, .. }) => pool::Front::Starting,
            Some(Self {
                serving: Some(since),
                ..
            }) => pool::Front::Serving { since: *since },
        }
    }
}
