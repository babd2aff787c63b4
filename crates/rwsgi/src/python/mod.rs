//! The interpreter: which one this process uses, and how it is started.

pub(crate) mod interpreter;
pub(crate) mod reexec;
pub(crate) mod single_threaded;
