//! How a server ends.

use crate::exit;

/// Why the server has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was told to stop.
    Stopped,
    /// Something of its own failed.
    Internal,
    /// Processes could not be started.
    CannotStart,
    /// The application could not be loaded, or was not ready in time. What it waits for may come later.
    NotLoaded,
    /// There is no such application, or no Python for it.
    NoApplication,
}

impl Verdict {
    /// The exit code that says so.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Stopped => exit::OK,
            Self::Internal => exit::INTERNAL,
            Self::CannotStart => exit::CANNOT_START,
            Self::NotLoaded => exit::NOT_LOADED,
            Self::NoApplication => exit::CONFIGURATION,
        }
    }
}
