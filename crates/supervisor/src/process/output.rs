//! What a process prints, when nobody reads it and the process is to end.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::sys::descriptors::replace_standard;
use crate::sys::signal;

/// So long nobody must have taken anything.
const PATIENCE: Duration = Duration::from_millis(500);

/// Replaces standard output and error by `/dev/null` where nobody takes what is printed, and has threads that wait there
/// go on. For a process that is to end: what it still prints is lost.
pub fn give_up_unread_output() {
    let (stdout, stderr) = (io::stdout(), io::stderr());
    let unread = [stdout.as_fd(), stderr.as_fd()].map(is_unread);
    if !unread.contains(&true) {
        return;
    }
    for (number, _) in (libc::STDOUT_FILENO..)
        .zip(unread)
        .filter(|(_, unread)| *unread)
    {
        let null = std::fs::OpenOptions::new().write(true).open("/dev/null");
        // Without it the thread waits on, until the process is killed.
        let _ = null.and_then(|null| replace_standard(null, number));
    }
    waiting_threads().for_each(signal::nudge);
}

fn is_unread(output: BorrowedFd<'_>) -> bool {
    let time = PollTimeout::try_from(PATIENCE).unwrap_or(PollTimeout::ZERO);
    let fd = PollFd::new(output, PollFlags::POLLOUT);
    debug_assert!(output.as_raw_fd() <= libc::STDERR_FILENO);
    poll(&mut [fd], time) == Ok(0)
}

/// The threads of this process that are in a call to write to standard output or error.
fn waiting_threads() -> impl Iterator<Item = libc::pid_t> {
    let threads = std::fs::read_dir("/proc/self/task")
        .into_iter()
        .flatten()
        .flatten();
    threads.filter_map(|thread| {
        let call = std::fs::read_to_string(thread.path().join("syscall")).ok()?;
        let mut words = call.split(' ');
        let number: libc::c_long = words.next()?.parse().ok()?;
        let writes = [libc::SYS_write, libc::SYS_writev, libc::SYS_sendto].contains(&number);
        let waits = writes && matches!(words.next()?, "0x1" | "0x2");
        waits
            .then(|| thread.file_name().to_str()?.parse().ok())
            .flatten()
    })
}
