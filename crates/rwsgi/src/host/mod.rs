//! The server on its machine: who it is, how it was started, where it is found, what it may use.

pub(crate) mod access_log;
pub(crate) mod identity;
pub(crate) mod invocation;
pub(crate) mod pid_file;
pub(crate) mod release;
pub(crate) mod runtime_dir;
pub(crate) mod sizing;
