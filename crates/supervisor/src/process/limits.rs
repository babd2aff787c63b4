//! Limits of resources that a process sets for itself, which programs that it starts inherit, and what it has used.

use std::io;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::time::{ClockId, clock_gettime};

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

/// What this process has spent on processors, all its threads together.
#[must_use]
pub fn processor_time() -> Duration {
    // The clock is there wherever Linux is.
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
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
