//! Resource limits of this process, which its children inherit, and its CPU time.

use std::io;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::time::{ClockId, clock_gettime};

/// Limits the main thread's stack, which the kernel grows on demand up to the current limit.
///
/// # Errors
/// When the hard limit is lower.
pub fn limit_main_stack(bytes: u64) -> io::Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_STACK)?;
    if soft != bytes {
        setrlimit(Resource::RLIMIT_STACK, bytes, hard)?;
    }
    Ok(())
}

/// The CPU time of this process, of all threads together.
#[must_use]
pub fn processor_time() -> Duration {
    // Linux always has this clock.
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

/// Raises the limit of descriptors, up to the hard limit; returns the new limit.
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
