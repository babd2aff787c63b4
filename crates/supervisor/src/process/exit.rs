//! Exit codes of the programs and their processes (see sysexits.h), and their meaning.

use std::fmt;

use nix::sys::signal::Signal;

use crate::sys::wait::Exit;

/// All is well.
pub const OK: u8 = 0;
/// A running server could not execute a command.
pub const FAILED: u8 = 1;
/// The command line is invalid.
pub const USAGE: u8 = 64;
/// An address is taken or not available (yet), or no server responds.
pub const UNAVAILABLE: u8 = 69;
/// An internal error.
pub const INTERNAL: u8 = 70;
/// The system does not provide what the server needs.
pub const CANNOT_START: u8 = 71;
/// The application raised an exception while loading, or was not ready in time: a retry may help.
pub const NOT_LOADED: u8 = 75;
/// The application has closed descriptors of the server in a child.
pub const CUT_OFF: u8 = 76;
/// The configuration is invalid, or the application does not exist: a retry does not help.
pub const CONFIGURATION: u8 = 78;

/// Why the server has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitReason {
    /// It was told to stop.
    Stopped,
    /// An internal error.
    Internal,
    /// Processes could not be started.
    CannotStart,
    /// The application could not be loaded, or was not ready in time. A retry may help.
    NotLoaded,
    /// The application, or a Python for it, does not exist.
    NoApplication,
}

impl ExitReason {
    /// The corresponding exit code.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Stopped => OK,
            Self::Internal => INTERNAL,
            Self::CannotStart => CANNOT_START,
            Self::NotLoaded => NOT_LOADED,
            Self::NoApplication => CONFIGURATION,
        }
    }
}

impl Exit {
    /// How it ended, for the log; `by_server` where the server has killed it.
    pub(crate) fn cause(self, by_server: bool) -> String {
        let killed =
            matches!(self, Self::Signal { number, .. } if number == Signal::SIGKILL as i32);
        if by_server && killed {
            "ended by the server".to_owned()
        } else {
            self.to_string()
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Code(code) => {
                write!(f, "exit {code}")?;
                match code {
                    INTERNAL => f.write_str(" (internal error)"),
                    CANNOT_START => f.write_str(" (cannot start)"),
                    NOT_LOADED => f.write_str(" (application cannot be loaded)"),
                    CUT_OFF => {
                        f.write_str(" (the application has closed the server's descriptors)")
                    }
                    CONFIGURATION => f.write_str(" (no such application or Python)"),
                    _ => Ok(()),
                }
            }
            Self::Signal { number, core } => {
                write!(f, "signal {number}")?;
                if let Ok(signal) = Signal::try_from(number) {
                    write!(f, " ({signal})")?;
                }
                if core {
                    f.write_str(", core dumped")
                } else {
                    Ok(())
                }
            }
        }
    }
}
