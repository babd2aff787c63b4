//! The server's environment: its invocation, user, files and resources.

pub(crate) mod access_log;
pub(crate) mod identity;
pub(crate) mod invocation;
pub(crate) mod pid_file;
pub(crate) mod release;
pub(crate) mod runtime_dir;
pub(crate) mod sizing;
