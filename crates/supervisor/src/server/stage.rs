//! How far the server is on its way.

use std::time::Duration;

/// How far the server is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It serves, or is about to.
    Up,
    /// It serves as before, but each answer is the last of its connection, so that others hear of the stop in time.
    Delay {
        /// Until then.
        until: Duration,
    },
    /// The front finishes its connections. Children are replaced as before: requests may still wait for them.
    FrontDrains {
        /// At most until then.
        until: Duration,
    },
    /// Children finish what nobody waits for any more.
    ChildrenDrain {
        /// At most until then.
        until: Duration,
    },
    /// The front and the mold leave.
    Farewell {
        /// At most until then.
        until: Duration,
    },
    /// Whoever is left has been killed, and is waited for.
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
            | Self::Farewell { until }
            | Self::Killing { until } => Some(until),
        }
    }

    /// Whether dead processes are replaced.
    pub(crate) fn keeps_pool(self) -> bool {
        self.serves() || matches!(self, Self::FrontDrains { .. })
    }

    /// Whether connections are taken.
    pub(crate) fn serves(self) -> bool {
        matches!(self, Self::Up | Self::Delay { .. })
    }
}
