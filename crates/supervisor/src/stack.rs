//! The stack of a process's main thread.

use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Bounds the main thread's stack, which grows as it is used up to the limit that holds at that moment. Programs that
/// this process starts inherit the limit.
///
/// # Errors
/// When the hard limit does not allow so much.
pub fn limit_main_stack(bytes: u64) -> io::Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_STACK)?;
    if soft != bytes {
        setrlimit(Resource::RLIMIT_STACK, bytes, hard)?;
    }
    Ok(())
}
