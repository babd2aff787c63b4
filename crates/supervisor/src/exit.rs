//! Exit codes of the programs and of their processes (see sysexits.h).

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
