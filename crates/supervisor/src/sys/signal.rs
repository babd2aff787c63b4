//! Signal handlers of a process.
#![expect(unsafe_code, reason = "sigaction")]

use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use libc::{c_int, sighandler_t};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::signal::{SigSet, Signal};

/// Signals that only the supervisor handles, and two that would end a process for a broken pipe or a large file,
/// which Rust and Python report as errors.
const CALMED: [c_int; 8] = [
    libc::SIGTERM,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGHUP,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGPIPE,
    libc::SIGXFSZ,
];

/// The signals that are withheld from the application, as in `wsgi/signals.py`.
pub(crate) const WITHHELD: [Signal; 5] = [
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGHUP,
    Signal::SIGUSR2,
];

/// The last signal's number on Linux.
const LAST: c_int = 64;

/// Which handlers are replaced by one that does nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Every handler: none was set for this process.
    All,
    /// The default and "ignored", but no handler of the application.
    Unhandled,
}

/// Makes the supervisor's signals have no effect here.
///
/// By a handler that does nothing, instead of ignoring them: programs that this process starts then get the default
/// back, while "ignored" would be inherited.
pub(crate) fn reset_handlers(give: Scope) {
    for signal in 1..=LAST {
        let Some(now) = handler(signal) else { continue };
        let unhandled = now == libc::SIG_DFL || now == libc::SIG_IGN;
        let passed_on = now == pass_on as extern "C" fn(c_int) as sighandler_t;
        if CALMED.contains(&signal) {
            if unhandled || give == Scope::All {
                set(signal, nothing as extern "C" fn(c_int) as sighandler_t);
            }
        } else if now == libc::SIG_IGN || passed_on {
            set(signal, libc::SIG_DFL);
        }
    }
}

/// Makes the withheld signals have no effect here, whatever their handlers were.
pub(crate) fn reset_withheld() {
    for signal in WITHHELD {
        set(
            signal as c_int,
            nothing as extern "C" fn(c_int) as sighandler_t,
        );
    }
}

/// Makes these signals, which this thread has blocked and reads, reach this thread even when the kernel delivers
/// one to another thread: a library loaded by `LD_PRELOAD` may have threads, where a signal would end the process
/// or be lost.
pub(crate) fn gather(signals: impl IntoIterator<Item = c_int>) {
    for signal in signals {
        set(signal, pass_on as extern "C" fn(c_int) as sighandler_t);
    }
}

/// Resends the signal to the main thread. The main thread itself gets here only in a forked process that has
/// unblocked the signal: there it does nothing.
extern "C" fn pass_on(signal: c_int) {
    let process = nix::unistd::getpid();
    if nix::unistd::gettid() == process {
        return;
    }
    let process = process.as_raw();
    send_to_thread(process, process, signal);
}

/// Sends the signal to a thread of this process, if it is still there. A handler may call this: errno stays as it is.
fn send_to_thread(process: libc::pid_t, thread: libc::pid_t, signal: c_int) {
    let former = Errno::last_raw();
    // SAFETY: numbers only, and a system call that a handler may make.
    let _ = unsafe { libc::syscall(libc::SYS_tgkill, process, thread, signal) };
    Errno::set_raw(former);
}

/// Makes a thread of this process restart the system call in which it is blocked, if there is a signal whose
/// handler does nothing.
pub(crate) fn nudge(thread: libc::pid_t) {
    let ours = nothing as extern "C" fn(c_int) as sighandler_t;
    if handler(libc::SIGUSR2) == Some(ours) {
        let process = nix::unistd::getpid().as_raw();
        send_to_thread(process, thread, libc::SIGUSR2);
    }
}

extern "C" fn nothing(_signal: c_int) {}

/// The thread of this process that waits for SIGTERM; 0 without one.
static LISTENER: AtomicI32 = AtomicI32::new(0);
/// The process of that thread: a copy that the application has forked has no such thread.
static OWNER: AtomicI32 = AtomicI32::new(0);
/// SIGTERM has come, and that has been told.
static TERMINATED: AtomicBool = AtomicBool::new(false);
static IS_TOLD: AtomicBool = AtomicBool::new(false);

/// From now on, SIGTERM to this process interrupts [`wait_readable`] in this thread, whichever thread the kernel delivers it to.
/// No thread of the application has it blocked, so that programs it starts can be terminated.
pub(crate) fn listen_for_term() -> nix::Result<()> {
    SigSet::from(Signal::SIGTERM).thread_block()?;
    OWNER.store(nix::unistd::getpid().as_raw(), Ordering::Relaxed);
    LISTENER.store(nix::unistd::gettid().as_raw(), Ordering::Release);
    set(
        libc::SIGTERM,
        to_listener as extern "C" fn(c_int) as sighandler_t,
    );
    Ok(())
}

/// Waits until there is something to read. `true` when SIGTERM has come instead for the first time.
pub(crate) fn wait_readable(file: BorrowedFd<'_>) -> nix::Result<bool> {
    let mut mask = SigSet::thread_get_mask()?;
    mask.remove(Signal::SIGTERM);
    loop {
        if TERMINATED.load(Ordering::Relaxed) && !IS_TOLD.swap(true, Ordering::Relaxed) {
            return Ok(true);
        }
        let mut files = [PollFd::new(file, PollFlags::POLLIN)];
        // SIGTERM is delivered to this thread here alone: it cannot come between the look above and the wait.
        match ppoll(&mut files, None, Some(mask)) {
            Ok(_) => return Ok(false),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

extern "C" fn to_listener(signal: c_int) {
    let (listener, process) = (
        LISTENER.load(Ordering::Acquire),
        nix::unistd::getpid().as_raw(),
    );
    if nix::unistd::gettid().as_raw() == listener {
        TERMINATED.store(true, Ordering::Relaxed);
    } else if process == OWNER.load(Ordering::Relaxed) {
        send_to_thread(process, listener, signal);
    }
}

/// The handler of `signal`; `None` for the two signals that the C library reserves.
fn handler(signal: c_int) -> Option<sighandler_t> {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: changes nothing, and `action` is a sigaction that may be written to.
    let done = unsafe { libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) };
    // SAFETY: all-zero bytes are a sigaction, and what the kernel writes is one.
    let action = unsafe { action.assume_init() };
    (done == 0).then_some(action.sa_sigaction)
}

/// Sets the handler of `signal`: the default, or [`nothing`].
fn set(signal: c_int, handler: sighandler_t) {
    // SAFETY: all-zero bytes are a sigaction with an empty mask.
    let mut action = unsafe { MaybeUninit::<libc::sigaction>::zeroed().assume_init() };
    action.sa_sigaction = handler;
    action.sa_flags = libc::SA_RESTART;
    // SAFETY: `action` is complete; the handler is the default or a function that touches nothing. It cannot fail:
    // the handler of `signal` was just read, or it is SIGCHLD.
    unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) };
}
