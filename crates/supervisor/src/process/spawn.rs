//! How processes of the server come into being: what each does first, and the mold's double fork.

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
use crate::sys::title;
use crate::sys::wait::{Exit, until_ended};

/// What has to be done around a fork, beyond forking: CPython's fork hooks.
pub trait ForkHooks {
    /// Before the fork.
    fn before(&self);
    /// After it, in the process that was there before.
    fn in_parent(&self);
    /// After it, in the new process.
    fn in_child(&self);
}

/// The mold's end of its line to the supervisor.
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

    /// Tells the supervisor.
    ///
    /// # Errors
    /// When there is no supervisor any more.
    pub fn report(&self, report: MoldReport) -> io::Result<()> {
        Ok(self.channel.send(report)?)
    }

    /// Tells the supervisor which files the application's modules come from.
    ///
    /// # Errors
    /// When there is no supervisor any more.
    pub fn report_modules(&self, files: &[PathBuf]) -> io::Result<()> {
        chunked(files, |files| self.report(MoldReport::Modules { files }))
    }

    /// Waits for the next order. `None` when there will be none: leave.
    #[must_use]
    pub fn next_order(&self) -> Option<Order> {
        self.channel.recv()
    }
}

/// A child's end of its line to the supervisor. Any thread may use it.
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

    /// Who this child is.
    #[must_use]
    pub fn child(&self) -> ChildId {
        self.child
    }

    /// The generation it belongs to.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// No child of its generation has been ready before: it shows whether one can be.
    #[must_use]
    pub fn is_first(&self) -> bool {
        self.is_first
    }

    /// Tells the supervisor.
    ///
    /// # Errors
    /// When there is no supervisor any more.
    pub fn report(&self, report: ChildReport) -> io::Result<()> {
        Ok(self.channel.send(report)?)
    }

    /// Tells the supervisor which files the application's modules come from.
    ///
    /// # Errors
    /// When there is no supervisor any more.
    pub fn report_modules(&self, files: &[PathBuf]) -> io::Result<()> {
        chunked(files, |files| self.report(ChildReport::Modules { files }))
    }

    /// Waits for the next order. `None` when the supervisor is gone: leave.
    #[must_use]
    pub fn next_order(&self) -> Option<ChildOrder> {
        self.channel.recv()
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

/// Says as much at a time as one message holds.
fn chunked(
    mut files: &[PathBuf],
    mut say: impl FnMut(Vec<PathBuf>) -> io::Result<()>,
) -> io::Result<()> {
    while !files.is_empty() {
        let part = prefix_that_fits(files);
        say(part.to_vec())?;
        // A path that no message holds is one that no file has.
        files = &files[part.len().max(1)..];
    }
    Ok(())
}

/// Forks the child that the supervisor has ordered, in the mold, and goes on there; `live` is the child's life and
/// returns its exit code. A failure is reported to the supervisor.
///
/// The fork is a double one: the process between the mold and the child ends at once, and so the child is adopted by
/// the supervisor, which is a subreaper. `around` is around both: what is to be done before is done in the mold, where the
/// threads are that it may have to wait for, and the process between does nothing of it.
///
/// What the application has opened in the mold stays open in the child; the mold's line to the supervisor does not.
///
/// # Errors
/// When the supervisor is gone.
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
        // The process between never gets past this, nor does the child.
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
        // Said before our copy of the child's channel is closed (with `spawn`, which `between` has not taken here), so
        // that the supervisor does not hear the end of the channel first.
        Err(errno) => link.report(MoldReport::ForkFailed { child, errno }),
    }
}

/// The life of the process between: its exit code is zero, or why the second fork failed.
fn between(
    mold: Pid,
    link: &MoldLink,
    spawn: Spawn,
    around: &dyn ForkHooks,
    live: &mut dyn FnMut(ChildLink) -> u8,
) -> ! {
    let parent = getpid();
    // Should the mold be killed, this process has to follow: its copy of the child's channel would otherwise keep the
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
            // Without a supervisor the child leaves by itself.
            let _ = link.send(ChildReport::Forked {
                pid: child.as_raw().cast_unsigned(),
            });
            leave(0)
        }
        // Linux has no error numbers above 133.
        Err(errno) => leave(u8::try_from(errno as i32).unwrap_or(u8::MAX)),
    }
}

/// The child's life, from its first step to its end.
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
    let born = adopted(parent, link.supervisor).and_then(|()| signals::stay_out_of_it());
    if let Err(errno) = born {
        error!(child = child.slot, r#gen = generation, %errno, "cannot be born");
        // Without a supervisor there is nobody to tell.
        let _ = Channel::<ChildReport, ChildOrder>::over(channel).send(ChildReport::Short);
        leave(ExitReason::CannotStart.code());
    }
    // The child keeps no end that is the mold's: held open, the supervisor would not hear of the mold's end. Its owner
    // is on the stack below, which this process never returns to.
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
    // Kept to the end of the process, so that the supervisor hears the end of the line when the process ends, and not
    // when `live` happens to let go of it.
    let kept = link.try_clone();
    if kept.is_err() {
        // As above.
        let _ = link.report(ChildReport::Short);
        leave(ExitReason::CannotStart.code());
    }
    if link.report(ChildReport::Born).is_err() {
        leave(ExitReason::CannotStart.code());
    }
    leave(guarded(|| live(link)))
}

/// Waits until the process between has ended and the supervisor is the parent, and sees to it that this process does
/// not outlive the supervisor.
fn adopted(between: Pid, supervisor: Pid) -> nix::Result<()> {
    // The kernel itself says when the parent has ended: with a signal that waits here until it is asked for. It is sent
    // after the new parent has been entered. Should the parent end before this takes effect, it is no longer `between`.
    // One that comes and is not asked for does nothing when it is unblocked: that is what this signal does by default.
    let word = SigSet::from(Signal::SIGWINCH);
    word.thread_block()?;
    set_pdeathsig(Signal::SIGWINCH)?;
    while getppid() == between {
        word.wait()?;
    }
    die_with(supervisor)
}

/// Has this process killed when its parent ends, which is the supervisor, or of the process between the mold; if that has
/// ended already, this process follows it.
pub(crate) fn die_with(parent: Pid) -> nix::Result<()> {
    set_pdeathsig(Signal::SIGKILL)?;
    if getppid() == parent {
        return Ok(());
    }
    debug!("the parent has gone");
    Err(Errno::ESRCH)
}

/// The life of a process that the supervisor has forked: what each does first, then `live`, which returns the exit
/// code.
pub(crate) fn be(
    supervisor: Pid,
    identity: Option<&Identity>,
    title: &str,
    name: &str,
    live: impl FnOnce() -> u8,
) -> ! {
    // With the rights of the start.
    open_output_anew();
    // Before anything else: the kernel forgets the wish to die with the supervisor when the user changes.
    if let Some(Err(problem)) = identity.map(Identity::assume) {
        leave(identity::say(&problem));
    }
    if let Err(errno) = die_with(supervisor).and_then(|()| signals::leave_to_supervisor()) {
        error!(%errno, "a process of the server cannot start");
        leave(ExitReason::CannotStart.code());
    }
    title::set(title, name);
    leave(guarded(live))
}

/// To be called when code of the application has returned. In a process that it has forked meanwhile, and which was to end
/// elsewhere, this is the end: two processes would otherwise answer the same requests.
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

/// Runs a life. A panic ends it: what lies below on the stack belongs to the process that this one was forked from.
pub(crate) fn guarded(live: impl FnOnce() -> u8) -> u8 {
    // Nothing that the panic may have left half done is looked at again.
    catch_unwind(AssertUnwindSafe(live)).unwrap_or_else(|_| ExitReason::Internal.code())
}
