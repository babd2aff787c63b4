//! How processes of the server are forked: their first steps, and the mold's double fork.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use exchange::{ChildId, Original};
use nix::errno::Errno;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{Pid, getpid, getppid};
use tracing::{debug, error, warn};

use crate::config::SiteId;
use crate::ipc::channel::Channel;
use crate::ipc::message::{ChildOrder, ChildReport, MoldReport, Order, Spawn, prefix_that_fits};
use crate::process::exit;
use crate::process::exit::ExitReason;
use crate::process::identity::{self, Identity};
use crate::process::signals;
use crate::sys::descriptors::open_output_anew;
use crate::sys::fork::{Side, fork, leave};
use crate::sys::signal::{listen_for_term, wait_readable};
use crate::sys::title;
use crate::sys::wait::{Exit, until_ended};

/// Hooks around a fork: those of CPython.
pub trait ForkHooks {
    /// Before the fork.
    fn before(&self);
    /// After the fork, in the parent.
    fn in_parent(&self);
    /// After the fork, in the child.
    fn in_child(&self);
}

/// The mold's end of its channel to the supervisor.
#[derive(Debug)]
pub struct MoldLink {
    channel: Channel<MoldReport, Order>,
    supervisor: Pid,
    application: String,
}

impl MoldLink {
    pub(crate) fn new(end: OwnedFd, supervisor: Pid, application: &str) -> Self {
        Self {
            channel: Channel::over(end),
            supervisor,
            application: application.to_owned(),
        }
    }

    /// Sends a report to the supervisor.
    ///
    /// # Errors
    /// When the supervisor has gone.
    pub fn report(&self, report: MoldReport) -> io::Result<()> {
        Ok(self.channel.send(report)?)
    }

    /// Reports the files of the application's modules to the supervisor.
    ///
    /// # Errors
    /// When the supervisor has gone.
    pub fn report_modules(&self, files: &[PathBuf]) -> io::Result<()> {
        chunked(files, |files| self.report(MoldReport::Modules { files }))
    }

    /// Waits for the next order. `None` when there will be none: the mold must exit.
    #[must_use]
    pub fn next_order(&self) -> Option<Order> {
        self.channel.recv()
    }
}

/// A child's end of its channel to the supervisor. Any thread may use it.
#[derive(Debug)]
pub struct ChildLink {
    channel: Channel<ChildReport, ChildOrder>,
    site: SiteId,
    child: ChildId,
    generation: u32,
    is_first: bool,
}

impl ChildLink {
    /// The site it belongs to.
    #[must_use]
    pub fn site(&self) -> SiteId {
        self.site
    }

    /// The child's id.
    #[must_use]
    pub fn child(&self) -> ChildId {
        self.child
    }

    /// The generation it belongs to.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// No child of its generation has been ready before: this one shows whether the generation works.
    #[must_use]
    pub fn is_first(&self) -> bool {
        self.is_first
    }

    /// Sends a report to the supervisor.
    ///
    /// # Errors
    /// When the supervisor has gone.
    pub fn report(&self, report: ChildReport) -> io::Result<()> {
        Ok(self.channel.send(report)?)
    }

    /// Reports the files of the application's modules to the supervisor.
    ///
    /// # Errors
    /// When the supervisor has gone.
    pub fn report_modules(&self, files: &[PathBuf]) -> io::Result<()> {
        chunked(files, |files| self.report(ChildReport::Modules { files }))
    }

    /// Waits for the next order. `None` when the supervisor has gone: the child must exit.
    #[must_use]
    pub fn next_order(&self) -> Option<ChildOrder> {
        while self.channel.is_ours() && wait_readable(self.channel.as_fd()).ok()? {
            // Fails when the supervisor has gone.
            let _ = self.report(ChildReport::Terminated);
        }
        self.channel.recv()
    }

    /// Reports SIGTERM to this process, once, from now on: while this thread waits by [`Self::next_order`].
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn report_term(&self) -> io::Result<()> {
        Ok(listen_for_term()?)
    }

    /// A second handle.
    ///
    /// # Errors
    /// When there are too many descriptors.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            channel: self.channel.try_clone()?,
            site: self.site,
            child: self.child,
            generation: self.generation,
            is_first: self.is_first,
        })
    }
}

/// Sends the files in as many messages as needed.
fn chunked(
    mut files: &[PathBuf],
    mut send: impl FnMut(Vec<PathBuf>) -> io::Result<()>,
) -> io::Result<()> {
    while !files.is_empty() {
        let part = prefix_that_fits(files);
        send(part.to_vec())?;
        // A path that does not fit into a message cannot be that of a file.
        files = &files[part.len().max(1)..];
    }
    Ok(())
}

/// Forks the child that the supervisor has ordered, in the mold, where this returns; `live` runs the child and
/// returns its exit code. A failure is reported to the supervisor.
///
/// This is a double fork: the intermediate process exits at once, so that the child is adopted by the supervisor,
/// which is a subreaper. The hooks `around` enclose both forks: `before` runs in the mold, which has the threads
/// that it may have to wait for; the intermediate process runs no hook.
///
/// Descriptors that the application has opened in the mold stay open in the child; the mold's channel to the
/// supervisor is closed.
///
/// # Errors
/// When the supervisor has gone.
pub fn fork_child(
    link: &MoldLink,
    spawn: Spawn,
    around: &dyn ForkHooks,
    live: &mut dyn FnMut(ChildLink) -> u8,
) -> io::Result<()> {
    let child = spawn.child;
    let mold = getpid();
    around.before();
    let forked = fork();
    if !matches!(forked, Ok(Side::Child)) {
        around.in_parent();
    }
    let outcome = match forked {
        // Neither the intermediate process nor the child returns from here.
        Ok(Side::Child) => leave(guarded(|| between(mold, link, spawn, around, live))),
        Ok(Side::Parent(between)) => match until_ended(between) {
            Ok(Exit::Code(0)) => Ok(()),
            Ok(Exit::Code(errno)) => Err(i32::from(errno)),
            Ok(Exit::Signal { .. }) => Err(libc::EINTR),
            Err(errno) => Err(errno as i32),
        },
        Err(errno) => Err(errno as i32),
    };
    match outcome {
        Ok(()) => Ok(()),
        // Sent before our copy of the child's channel is closed (with `spawn`, which `between` has not taken here),
        // so that the supervisor receives it before the end of that channel.
        Err(errno) => link.report(MoldReport::ForkFailed { child, errno }),
    }
}

/// The intermediate process: its exit code is zero, or the error number of the second fork.
fn between(
    mold: Pid,
    link: &MoldLink,
    spawn: Spawn,
    around: &dyn ForkHooks,
    live: &mut dyn FnMut(ChildLink) -> u8,
) -> ! {
    let parent = getpid();
    // If the mold is killed, this process must die too: otherwise its copy of the child's channel would keep the
    // supervisor waiting for a child.
    if let Err(errno) = die_with(mold) {
        leave(u8::try_from(errno as i32).unwrap_or(u8::MAX));
    }
    match fork() {
        Ok(Side::Child) => {
            around.in_child();
            be_child(link, spawn, parent, live)
        }
        Ok(Side::Parent(child)) => {
            let link = Channel::<ChildReport, ChildOrder>::over(spawn.channel);
            // Without a supervisor the child exits by itself.
            let _ = link.send(ChildReport::Forked {
                pid: child.as_raw().cast_unsigned(),
            });
            leave(0)
        }
        // Linux has no error numbers above 133.
        Err(errno) => leave(u8::try_from(errno as i32).unwrap_or(u8::MAX)),
    }
}

/// The child.
fn be_child(
    link: &MoldLink,
    spawn: Spawn,
    parent: Pid,
    live: &mut dyn FnMut(ChildLink) -> u8,
) -> ! {
    let Spawn {
        site,
        child,
        generation,
        is_first,
        channel,
    } = spawn;
    let born =
        adopted(parent, link.supervisor).and_then(|()| signals::leave_unhandled_to_supervisor());
    if let Err(errno) = born {
        error!(child = child.slot, r#gen = generation, %errno, "cannot be born");
        // Fails when the supervisor has gone.
        let _ = Channel::<ChildReport, ChildOrder>::over(channel).send(ChildReport::Short);
        leave(ExitReason::CannotStart.code());
    }
    // The child must not hold the mold's end: the supervisor would not notice the mold's end. Its owner is on the
    // stack below, to which this process never returns.
    let _ = nix::unistd::close(link.channel.as_fd().as_raw_fd());
    let slot = child.slot;
    title::set(
        &format!(
            "rwsgi: child {slot} gen {generation} ({})",
            link.application
        ),
        &format!("rwsgi:child{slot}"),
    );
    let link = ChildLink {
        channel: Channel::over(channel),
        site,
        child,
        generation,
        is_first,
    };
    // Kept until the process exits, so that the supervisor sees the end of the channel then, and not when `live`
    // drops its handle.
    let kept = link.try_clone();
    if kept.is_err() {
        // Fails when the supervisor has gone.
        let _ = link.report(ChildReport::Short);
        leave(ExitReason::CannotStart.code());
    }
    if link.report(ChildReport::Born).is_err() {
        leave(ExitReason::CannotStart.code());
    }
    leave(guarded(|| live(link)))
}

/// Waits until the intermediate process has ended and the supervisor is the parent, and makes the kernel kill this
/// process when the supervisor dies.
fn adopted(between: Pid, supervisor: Pid) -> nix::Result<()> {
    // The kernel reports the parent's end by a signal, which stays pending because it is blocked. It is sent after
    // the new parent has been set. If the parent ends before this takes effect, the parent is no longer `between`.
    // SIGWINCH is ignored by default, so a pending one does no harm when it is unblocked.
    let word = SigSet::from(Signal::SIGWINCH);
    word.thread_block()?;
    set_pdeathsig(Signal::SIGWINCH)?;
    while getppid() == between {
        word.wait()?;
    }
    die_with(supervisor)
}

/// Makes the kernel kill this process when its parent ends: the supervisor, or for the intermediate process the
/// mold. Exits if the parent has ended already.
pub(crate) fn die_with(parent: Pid) -> nix::Result<()> {
    set_pdeathsig(Signal::SIGKILL)?;
    if getppid() == parent {
        return Ok(());
    }
    debug!("the parent has gone");
    Err(Errno::ESRCH)
}

/// Runs a process that the supervisor has forked: the common first steps, then `live`, which returns the exit code.
pub(crate) fn be(
    supervisor: Pid,
    identity: Option<&Identity>,
    title: &str,
    name: &str,
    live: impl FnOnce() -> u8,
) -> ! {
    // While the process still has its original rights.
    open_output_anew();
    // Before `die_with`: the kernel clears PDEATHSIG when the user changes.
    if let Some(Err(problem)) = identity.map(Identity::assume) {
        leave(identity::report_error(&problem));
    }
    if let Err(errno) = die_with(supervisor).and_then(|()| signals::leave_to_supervisor()) {
        error!(%errno, "a process of the server cannot start");
        leave(ExitReason::CannotStart.code());
    }
    title::set(title, name);
    leave(guarded(live))
}

/// To be called when code of the application has returned. A process that the application has forked exits here, if
/// it should have exited elsewhere: otherwise two processes would answer the same requests.
pub fn end_copy(original: &Original) {
    if original.is_elsewhere() {
        warn!(
            pid = std::process::id(),
            of = original.process(),
            "a process that the application forked came back into the server: it ends"
        );
        leave(exit::OK);
    }
}

/// Runs `live`. A panic ends it there, because the stack below belongs to the process that forked.
pub(crate) fn guarded(live: impl FnOnce() -> u8) -> u8 {
    // State that the panic has left inconsistent is not used again.
    catch_unwind(AssertUnwindSafe(live)).unwrap_or_else(|_| ExitReason::Internal.code())
}
