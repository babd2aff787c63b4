//! The state of the front process.

use std::time::Duration;

use exchange::notice::{FromFront, ToFront};
use nix::unistd::Pid;

use crate::ipc::channel::Channel;

/// The front.
#[derive(Debug)]
pub(crate) struct Front {
    pub(crate) pid: Pid,
    /// `None` once either side has closed it.
    pub(crate) link: Option<Channel<ToFront, FromFront>>,
    /// Since when it accepts connections.
    pub(crate) serving: Option<Duration>,
    pub(crate) drain: Drain,
    /// It is to reopen its log files, once the channel has room for the message.
    pub(crate) reopen: bool,
    /// It is to close each connection after its response, once the channel has room for the message.
    pub(crate) close: bool,
}

/// The state of draining the front.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Drain {
    /// Draining was not requested.
    Unasked,
    /// The order is to be sent once the channel has room.
    Owed,
    /// The order was sent.
    Asked,
    /// Every connection has ended.
    Done,
}

impl Front {
    /// The front as an input for `pool`.
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
