//! The descriptors of a process as a whole: what it was started with, and what becomes of all of them.
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

/// What was open when the program began, beside standard input, output and error.
static INHERITED: OnceLock<Vec<RawFd>> = OnceLock::new();

/// Opens `/dev/null` for each of standard input, output and error that is closed, and notes what else is open. To be
/// called before anything else is opened, which would get the number of one of them, and with it what is printed.
///
/// # Errors
/// When there is no `/dev/null`.
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
    // The one that listed them is closed by now.
    let open = listed.into_iter().filter(|number| flags(*number).is_ok());
    let _ = INHERITED.set(open.collect());
    Ok(())
}

/// A copy of a descriptor that this process was started with, or of standard output or error. Programs that are started
/// from now on inherit those of the other numbers no more.
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

/// Descriptors that a program inherits which is started while this lives.
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
            // One that is not open is inherited by nobody.
            let _ = set_flags(*number, FdFlag::FD_CLOEXEC);
        }
    }
}

/// Where it is a file, has each write go to its end: processes that open it anew (see [`open_output_anew`]) do not write
/// over each other then.
fn append(number: RawFd) -> nix::Result<()> {
    // SAFETY: the caller has seen to it that it is open, and nobody closes it while there is one thread.
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

/// Where standard output or error is a file, opens it anew for this process and those that it forks.
///
/// While one process waits for the disk to take what it writes, the kernel has each other one wait, too, that does anything
/// with the same open file, such as to look for its position.
pub(crate) fn open_output_anew() {
    for number in [libc::STDOUT_FILENO, libc::STDERR_FILENO] {
        // SAFETY: borrowed for calls that fail when the number is no descriptor.
        let output = unsafe { BorrowedFd::borrow_raw(number) };
        if !is_file(output) {
            continue;
        }
        let path = format!("/proc/self/fd/{number}");
        // Where that is not allowed it stays as it was.
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

/// Makes `from` one of the first three descriptors, which programs inherit, in place of what that was.
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
    // SAFETY: both are numbers; whatever `number` was before is meant to be replaced.
    Errno::result(unsafe { libc::dup2(from.as_raw_fd(), number) })?;
    Ok(())
}

/// Closes every descriptor but the first three and these.
///
/// To be called in a process that has just been forked and never returns to whoever owns the others.
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
    // SAFETY: the process is new and its owners of these descriptors are never returned to, as the caller says. Without
    // the call (Linux before 5.9) they stay open, which costs memory and no more.
    let _ = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
}
