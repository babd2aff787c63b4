//! Output of a process that is to exit while its output has no reader.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::sys::descriptors::replace_standard;
use crate::sys::signal;

/// How long nothing must have been read.
const PATIENCE: Duration = Duration::from_millis(500);

/// Replaces standard output and error by `/dev/null` where nothing is read, and interrupts threads that are blocked
/// there. For a process that is to exit: its further output is lost.
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
        // If this fails, the thread stays blocked until the process is killed.
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

/// The threads of this process that are blocked in a write to standard output or error.
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
