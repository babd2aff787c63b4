//! Exit codes of the programs and of their processes (see sysexits.h), what they mean, and how they are shown.

use std::fmt;

use nix::sys::signal::Signal;

use crate::sys::wait::Exit;

/// All is well.
pub const OK: u8 = 0;
/// A running server has not done what it was asked for.
pub const FAILED: u8 = 1;
/// The command line is wrong.
pub const USAGE: u8 = 64;
/// An address is taken or not there (yet), or no server answers.
pub const UNAVAILABLE: u8 = 69;
/// Something that the program relies on failed.
pub const INTERNAL: u8 = 70;
/// The system refuses what the server needs.
pub const CANNOT_START: u8 = 71;
/// The application raised an exception while it was loaded, or was not ready in time: another try may help.
pub const NOT_LOADED: u8 = 75;
/// A child whose application has closed descriptors that are the server's.
pub const CUT_OFF: u8 = 76;
/// The configuration is wrong, or there is no such application: no other try helps.
pub const CONFIGURATION: u8 = 78;

/// Why the server has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitReason {
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

impl ExitReason {
    /// The exit code that says so.
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
