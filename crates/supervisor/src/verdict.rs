//! How a server ends.

/// Why the server has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was told to stop.
    Stopped,
    /// Something of its own failed.
    Internal,
    /// Processes could not be started.
    CannotStart,
    /// The application cannot be loaded.
    Unloadable,
}

impl Verdict {
    /// The exit code that says so.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Stopped => 0,
            Self::Internal => 70,
            Self::CannotStart => 71,
            Self::Unloadable => 78,
        }
    }
}
