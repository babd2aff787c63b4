//! The stages of the server's life.

use std::time::Duration;

/// The stage of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It serves, or is starting.
    Up,
    /// It serves, but closes each connection after its response, so that load balancers notice the stop in time.
    Delay {
        /// Until then.
        until: Duration,
    },
    /// The front finishes its connections. Children are replaced as before: requests may still wait for them.
    FrontDrains {
        /// At most until then.
        until: Duration,
    },
    /// Children finish requests without a client.
    ChildrenDrain {
        /// At most until then.
        until: Duration,
    },
    /// The front and the mold exit.
    Leaving {
        /// At most until then.
        until: Duration,
    },
    /// The remaining processes have been killed, and are awaited.
    Killing {
        /// At most until then.
        until: Duration,
    },
}

impl Stage {
    /// When it ends at the latest.
    pub(crate) fn due(self) -> Option<Duration> {
        match self {
            Self::Up => None,
            Self::Delay { until }
            | Self::FrontDrains { until }
            | Self::ChildrenDrain { until }
            | Self::Leaving { until }
            | Self::Killing { until } => Some(until),
        }
    }

    /// Whether dead processes are replaced.
    pub(crate) fn keeps_pool(self) -> bool {
        self.serves() || matches!(self, Self::FrontDrains { .. })
    }

    /// Whether connections are accepted.
    pub(crate) fn serves(self) -> bool {
        matches!(self, Self::Up | Self::Delay { .. })
    }
}
