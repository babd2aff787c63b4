//! What signals do to a process.
#![expect(unsafe_code, reason = "sigaction")]

use std::mem::MaybeUninit;
use std::ptr;

use libc::{c_int, sighandler_t};
use nix::sys::signal::Signal;

/// Signals that only the supervisor acts upon, and two that would end a process for a broken pipe or a large file,
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

/// Those of them that are withheld from the application, as `wsgi/signals.py` has them.
pub(crate) const WITHHELD: [Signal; 5] = [
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGHUP,
    Signal::SIGUSR2,
];

/// The last signal's number on Linux.
const LAST: c_int = 64;

/// Which handlers give way to the one that does nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Every handler: none of them was made for this process.
    All,
    /// No handler that the application has set up, only the default and "ignored".
    Unhandled,
}

/// Makes the signals that are the supervisor's business do nothing here, and leaves none ignored.
///
/// A handler that does nothing, not "ignored": programs that this process starts get the default back, where
/// "ignored" would stay.
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

/// Makes the signals that are withheld from the application do nothing here, whatever handles them.
pub(crate) fn reset_withheld() {
    for signal in WITHHELD {
        set(
            signal as c_int,
            nothing as extern "C" fn(c_int) as sighandler_t,
        );
    }
}

/// Has these signals, which this thread has blocked and reads, reach it also where another thread gets one: a library that
/// was loaded before the program (`LD_PRELOAD`) may have threads of its own, and what the kernel gives to one of them would
/// end this process, or be lost.
pub(crate) fn gather(signals: impl IntoIterator<Item = c_int>) {
    for signal in signals {
        set(signal, pass_on as extern "C" fn(c_int) as sighandler_t);
    }
}

/// Sends the signal to the first thread of this process. That one itself gets here only where it has unblocked the signal,
/// in a process that was just forked: there it does nothing.
extern "C" fn pass_on(signal: c_int) {
    let process = nix::unistd::getpid();
    if nix::unistd::gettid() == process {
        return;
    }
    let process = process.as_raw();
    // SAFETY: numbers only. A handler may make this call, which leaves errno alone when it succeeds, as it does here: the
    // thread exists and the signal is one.
    let _ = unsafe { libc::syscall(libc::SYS_tgkill, process, process, signal) };
}

/// Has a thread of this process begin the call anew that it waits in, if a signal is there that does nothing else.
pub(crate) fn nudge(thread: libc::pid_t) {
    let ours = nothing as extern "C" fn(c_int) as sighandler_t;
    if handler(libc::SIGUSR2) == Some(ours) {
        let process = nix::unistd::getpid().as_raw();
        // SAFETY: numbers only; the handler of this signal has just been seen to do nothing.
        let _ = unsafe { libc::syscall(libc::SYS_tgkill, process, thread, libc::SIGUSR2) };
    }
}

extern "C" fn nothing(_signal: c_int) {}

/// What handles `signal`; `None` when it is one of the two that are the C library's own.
fn handler(signal: c_int) -> Option<sighandler_t> {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: nothing is changed, and `action` is a sigaction that may be written into.
    let done = unsafe { libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) };
    // SAFETY: all-zero bytes are a sigaction, and what the kernel writes is one.
    let action = unsafe { action.assume_init() };
    (done == 0).then_some(action.sa_sigaction)
}

/// Has `signal` handled by `handler`: the default, or [`nothing`].
fn set(signal: c_int, handler: sighandler_t) {
    // SAFETY: all-zero bytes are a sigaction with an empty mask.
    let mut action = unsafe { MaybeUninit::<libc::sigaction>::zeroed().assume_init() };
    action.sa_sigaction = handler;
    action.sa_flags = libc::SA_RESTART;
    // SAFETY: `action` is complete; the handler is the default or a function that touches nothing at all.
    // It cannot fail: `signal` is one whose handler has just been read, or SIGCHLD.
    unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) };
}
