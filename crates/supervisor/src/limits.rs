//! Limits of resources that a process sets for itself. Programs that it starts inherit them.

use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Bounds the main thread's stack, which grows as it is used up to the limit that holds at that moment.
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

/// Allows this process so many descriptors, as far as the hard limit goes; gives back how many it may have now.
///
/// # Errors
/// When the kernel refuses.
pub fn allow_descriptors(wanted: u64) -> io::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let allowed = wanted.min(hard).max(soft);
    if allowed != soft {
        setrlimit(Resource::RLIMIT_NOFILE, allowed, hard)?;
    }
    Ok(allowed)
}
