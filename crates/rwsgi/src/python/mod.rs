//! The interpreter: which one this process is or becomes, and how it is started.

pub(crate) mod interpreter;
pub(crate) mod reexec;
pub(crate) mod single_threaded;
