//! The descriptor table of a process: what was inherited, and closing or replacing descriptors.
#![expect(
    unsafe_code,
    reason = "descriptors that no Rust value owns are looked at, copied, left open and closed"
)]

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::OnceLock;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::sys::stat::{SFlag, fstat};

/// Descriptors that were open when the program started, except standard input, output and error.
static INHERITED: OnceLock<Vec<RawFd>> = OnceLock::new();

/// Opens `/dev/null` for each of standard input, output and error that is closed, and notes which other descriptors
/// are open. To be called before anything else is opened: that would get one of the numbers 0 to 2, and receive
/// output.
///
/// # Errors
/// When `/dev/null` is missing.
pub fn open_standard() -> io::Result<()> {
    for number in [libc::STDIN_FILENO, libc::STDOUT_FILENO, libc::STDERR_FILENO] {
        if flags(number).is_err() {
            let null = OpenOptions::new()
                .read(true)
                .write(true)
                .open("/dev/null")?;
            replace_standard(null, number)?;
        }
    }
    for number in [libc::STDOUT_FILENO, libc::STDERR_FILENO] {
        append(number)?;
    }
    let listed: Vec<RawFd> = std::fs::read_dir("/proc/self/fd")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    // The descriptor of the listing itself is closed by now.
    let open = listed.into_iter().filter(|number| flags(*number).is_ok());
    let _ = INHERITED.set(open.collect());
    Ok(())
}

/// A copy of an inherited descriptor, or of standard output or error. The originals of other numbers are no longer
/// inherited by programs started from now on.
///
/// # Errors
/// When it was not open at the start.
pub fn copy_of_inherited(number: RawFd) -> io::Result<OwnedFd> {
    if number > libc::STDERR_FILENO {
        let is_inherited = INHERITED.get().is_some_and(|all| all.contains(&number));
        if !is_inherited {
            return Err(Errno::EBADF.into());
        }
        set_flags(number, FdFlag::FD_CLOEXEC)?;
    }
    // SAFETY: borrowed for one call, which fails when the number is no descriptor.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    let copy = fcntl(borrowed, FcntlArg::F_DUPFD_CLOEXEC(libc::STDERR_FILENO + 1))?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// Descriptors that programs inherit which are started while this exists.
#[derive(Debug)]
pub(crate) struct Inheritable<'a>(&'a [RawFd]);

impl<'a> Inheritable<'a> {
    pub(crate) fn these(numbers: &'a [RawFd]) -> nix::Result<Self> {
        let inheritable = Self(numbers);
        for number in numbers {
            set_flags(*number, FdFlag::empty())?;
        }
        Ok(inheritable)
    }
}

impl Drop for Inheritable<'_> {
    fn drop(&mut self) {
        for number in self.0 {
            // Fails when it is not open; then it is not inherited either.
            let _ = set_flags(*number, FdFlag::FD_CLOEXEC);
        }
    }
}

/// Sets O_APPEND if it is a file: processes that reopen it (see [`open_output_anew`]) then do not overwrite each
/// other's output.
fn append(number: RawFd) -> nix::Result<()> {
    // SAFETY: the caller has ensured that it is open, and with one thread it is not closed meanwhile.
    let output = unsafe { BorrowedFd::borrow_raw(number) };
    if is_file(output) {
        let flags = OFlag::from_bits_retain(fcntl(output, FcntlArg::F_GETFL)?);
        fcntl(output, FcntlArg::F_SETFL(flags | OFlag::O_APPEND))?;
    }
    Ok(())
}

fn is_file(descriptor: BorrowedFd<'_>) -> bool {
    fstat(descriptor).is_ok_and(|found| {
        SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT == SFlag::S_IFREG
    })
}

/// Where standard output or error is a file, reopens it for this process and its children.
///
/// While a process waits for the disk in a write, the kernel blocks all others that use the same open file, even to
/// read its position.
pub(crate) fn open_output_anew() {
    for number in [libc::STDOUT_FILENO, libc::STDERR_FILENO] {
        // SAFETY: borrowed for calls that fail when the number is no descriptor.
        let output = unsafe { BorrowedFd::borrow_raw(number) };
        if !is_file(output) {
            continue;
        }
        let path = format!("/proc/self/fd/{number}");
        // If that is not permitted, it is unchanged.
        if let Ok(file) = OpenOptions::new().append(true).open(path) {
            // A number that is open can be replaced.
            let _ = replace_standard(file, number);
        }
    }
}

fn flags(number: RawFd) -> nix::Result<i32> {
    // SAFETY: borrowed for one call, which fails when the number is no descriptor.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    fcntl(borrowed, FcntlArg::F_GETFD)
}

fn set_flags(number: RawFd, flags: FdFlag) -> nix::Result<()> {
    // SAFETY: borrowed for one call, which fails when the number is no descriptor.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    fcntl(borrowed, FcntlArg::F_SETFD(flags)).map(drop)
}

/// Replaces one of the first three descriptors, which programs inherit, by `from`.
///
/// # Errors
/// When the kernel refuses.
pub(crate) fn replace_standard(from: impl Into<OwnedFd>, number: RawFd) -> io::Result<()> {
    let from = from.into();
    if from.as_raw_fd() == number {
        // The kernel gives the lowest free number.
        set_flags(from.into_raw_fd(), FdFlag::empty())?;
        return Ok(());
    }
    // SAFETY: both are numbers; the previous `number` is meant to be replaced.
    Errno::result(unsafe { libc::dup2(from.as_raw_fd(), number) })?;
    Ok(())
}

/// Closes every descriptor except the first three and `kept`.
///
/// To be called in a process that was just forked and never returns to the owners of the others.
pub(crate) fn close_all_but(kept: &mut [RawFd]) {
    kept.sort_unstable();
    let mut from = libc::STDERR_FILENO + 1;
    for &mut number in kept {
        if number >= from {
            close(from, number - 1);
            from = number + 1;
        }
    }
    close(from, RawFd::MAX);
}

fn close(first: RawFd, last: RawFd) {
    if first > last {
        return;
    }
    let (first, last) = (first.cast_unsigned(), last.cast_unsigned());
    // SAFETY: the process is new and never returns to the owners of these descriptors, as required above. Where the
    // call is missing (Linux before 5.9) they stay open, which only costs memory.
    let _ = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
}
