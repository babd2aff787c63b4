//! Receives the messages of molds and children.

use exchange::{ChildId, ChildState};
use nix::unistd::Pid;
use tracing::{debug, error, info, warn};

use crate::Preload;
use crate::ipc::channel::Received;
use crate::ipc::message::{ChildReport, MoldReport, Unloadable};
use crate::process::exit::ExitReason;
use crate::site::slots::{Mold, Phase, Role, Slot};
use crate::site::{ServerState, Site};
use crate::sys::process::Handle;
use crate::sys::process::kill_now;
use crate::sys::procfs::parent_of;
use crate::sys::wait::is_ours;

/// Messages of one channel that are received before others get a turn. More than a channel holds, so that all
/// messages of an ended process are received.
const MOST_AT_ONCE: usize = 512;

/// How many invalid messages a process may send.
const MOST_UNEXPECTED: u8 = 16;

/// The consequence for an application that cannot be shared.
const LOADED_BY_EACH: &str = "what the application has set up cannot be shared by children, so each of them loads it \
    itself: --preload off saves loading it once more, --preload on shares it all the same, and a function noted with \
    rwsgi.before_fork can let go of it first";

impl Site<'_> {
    /// Receives the messages of a mold, up to a limit; the others are received in the next turn.
    pub(super) fn receive_mold(&mut self, pid: Pid) {
        for _ in 0..MOST_AT_ONCE {
            let received = match self.molds.iter_mut().find(|mold| mold.pid == pid) {
                Some(Mold {
                    link: Some(link), ..
                }) => link.try_recv(),
                _ => return,
            };
            match received {
                Received::Message(report) => self.mold_message(pid, report),
                Received::Empty => return,
                Received::Malformed => {
                    let pid = pid.as_raw();
                    warn!(pid, "the mold says what no mold says: killed");
                    self.mold_line_ended(Pid::from_raw(pid));
                }
                Received::Closed => self.mold_line_ended(pid),
            }
        }
    }

    /// It can receive nothing any more; mostly it is about to exit.
    fn mold_line_ended(&mut self, pid: Pid) {
        let silent = self.molds.iter_mut().filter(|mold| mold.pid == pid);
        silent.for_each(|mold| mold.link = None);
        kill_now(pid);
    }

    /// A mold has sent an unexpected message.
    fn count_mold_unexpected(&mut self, pid: Pid, report: &'static str) {
        warn!(
            pid = pid.as_raw(),
            report, "the mold said what makes no sense"
        );
        let mut molds = self.molds.iter_mut().filter(|mold| mold.pid == pid);
        if molds.any(|mold| is_too_much(&mut mold.unexpected)) {
            drop(molds);
            self.mold_line_ended(pid);
        }
    }

    fn mold_message(&mut self, from: Pid, report: MoldReport) {
        let now = self.now();
        let is_next = self
            .molds
            .next
            .as_ref()
            .is_some_and(|mold| mold.pid == from);
        // Reports of a mold that was given up no longer matter.
        let Some(mold) = self
            .molds
            .iter_mut()
            .find(|mold| mold.pid == from && !mold.leaving)
        else {
            return;
        };
        let (generation, pid) = (mold.generation, mold.pid.as_raw());
        match report {
            MoldReport::Ready { .. } if mold.ready.is_some() => {
                self.count_mold_unexpected(from, "ready");
            }
            MoldReport::Loading if mold.loads => self.count_mold_unexpected(from, "loading"),
            MoldReport::Ready { about } => {
                info!(r#gen = generation, pid, "mold ready");
                mold.ready = Some(now);
                self.startup.progress = now;
                self.about = about;
            }
            MoldReport::Loading => mold.loads = true,
            MoldReport::Unloadable(unloadable) if is_next => self.reload_failed(unloadable.why),
            MoldReport::Unloadable(unloadable) => self.application_unloadable(&unloadable),
            MoldReport::Modules { files } => {
                let since = mold.since;
                self.watch_modules(generation, files, Some(since));
            }
            MoldReport::Unshareable { why } => {
                warn!(r#gen = generation, pid, why, "{LOADED_BY_EACH}");
                if is_next {
                    self.next_cannot_be_shared();
                } else if self.settings.preload == Preload::Auto && self.preload {
                    self.preload = false;
                    self.molds
                        .iter_mut()
                        .filter(|mold| mold.pid == from)
                        .for_each(Mold::kill);
                }
            }
            MoldReport::ForkFailed { child, errno } => {
                self.fork_failed(from, generation, child, errno);
            }
        }
    }

    fn fork_failed(&mut self, from: Pid, generation: u32, id: ChildId, errno: i32) {
        let ordered = self.slot_of(id).and_then(|slot| slot.child());
        let is_ordered = ordered
            .is_some_and(|child| child.generation == generation && child.phase == Phase::Ordered);
        if !is_ordered {
            return self.count_mold_unexpected(from, "a fork that failed");
        }
        let errno = nix::errno::Errno::from_raw(errno);
        warn!(child = id.slot, r#gen = generation, %errno, "cannot be forked");
        self.startup.forks_failed = true;
        self.events.push(pool::Event::ForkFailed);
        self.vacate(id.slot);
        if self.is_trial(id) {
            self.reload_failed(format!(
                "the first child of the new generation cannot be forked: {errno}"
            ));
        }
    }

    fn application_unloadable(&mut self, unloadable: &Unloadable) {
        // Every child that loads for itself says the same.
        let is_told = self.server_state == ServerState::Stopping || self.waits_for_change();
        if is_told && !self.startup.child_was_ready {
            return;
        }
        if unloadable.is_final {
            error!(error = unloadable.why, "the application cannot be loaded");
        } else {
            error!("the application cannot be loaded");
        }
        if self.startup.child_was_ready {
            return;
        }
        if self.settings.watch_modules && self.server_state != ServerState::Stopping {
            self.wait_for_change();
        } else {
            self.fail(if unloadable.is_final {
                ExitReason::NoApplication
            } else {
                ExitReason::NotLoaded
            });
        }
    }

    /// Receives the messages of a child, up to a limit; the others are received in the next turn.
    pub(super) fn receive_child(&mut self, slot: u16, strangers: &[Pid]) {
        for _ in 0..MOST_AT_ONCE {
            let Some(child) = self.slots[usize::from(slot)].child_mut() else {
                return;
            };
            let Some(link) = &child.link else { return };
            let id = child.id;
            match link.try_recv_from() {
                (Received::Message(report), Some(speaker)) => {
                    self.child_message(id, report, speaker, strangers);
                }
                (Received::Empty, _) => return,
                (Received::Message(_) | Received::Malformed, _) => self.cut_off(id),
                // It is about to exit, or its application has closed the channel: it can receive nothing any more.
                (Received::Closed, _) => self.line_ended(id),
            }
        }
    }

    /// A child has sent an invalid message, and is killed.
    fn cut_off(&mut self, id: ChildId) {
        if let Some(child) = self.slot_of(id).and_then(Slot::child_mut) {
            warn!(
                child = id.slot,
                r#gen = child.generation,
                pid = child.pid.map(Pid::as_raw),
                "says what no child says: killed"
            );
        }
        self.line_ended(id);
    }

    fn line_ended(&mut self, id: ChildId) {
        let Some(child) = self.slot_of(id).and_then(Slot::child_mut) else {
            return;
        };
        child.link = None;
        if !child.end_process() {
            self.never_born(id);
        }
    }

    /// The channel of a child has ended before its birth.
    fn never_born(&mut self, id: ChildId) {
        // The mold may have reported why, or may be exiting: then its end counts.
        let pids: Vec<_> = self.molds.iter_mut().map(|mold| mold.pid).collect();
        pids.into_iter().for_each(|pid| self.receive_mold(pid));
        if let Some(child) = self.slot_of(id).and_then(|slot| slot.child()) {
            let generation = child.generation;
            if self
                .molds
                .iter_mut()
                .any(|mold| mold.generation == generation && mold.link.is_some() && !mold.leaving)
            {
                warn!(child = id.slot, "died before it was born");
                self.events.push(pool::Event::DiedStarting);
            }
            self.vacate(id.slot);
            if self.is_trial(id) {
                self.reload_failed("the first child of the new generation was not born".to_owned());
            }
        }
    }

    fn child_message(&mut self, id: ChildId, report: ChildReport, speaker: Pid, strangers: &[Pid]) {
        let now = self.now();
        let is_trial = self.is_trial(id);
        let Some(child) = self.slots[usize::from(id.slot)].child_mut() else {
            return;
        };
        let generation = child.generation;
        let place = self.exchange.scoreboard().child(id.slot);
        let is_child = child.born && child.pid == Some(speaker);
        match (report, child.phase) {
            (ChildReport::Forked { pid }, Phase::Ordered) => {
                self.child_was_forked(id, Pid::from_raw(pid.cast_signed()), speaker, strangers);
            }
            // `Born` has arrived before `Forked`.
            (ChildReport::Forked { .. }, _) => {}
            (ChildReport::Born, Phase::Ordered | Phase::Starting) if !child.born => {
                self.child_was_born(id, speaker, strangers);
            }
            (ChildReport::Short, Phase::Ordered | Phase::Starting) => child.is_short = true,
            // A process that the application has forked has the channel, too; its messages are ignored.
            (_, _) if child.born && !is_child => {
                debug!(child = id.slot, pid = speaker.as_raw(), "is not the child");
            }
            (ChildReport::Ready, Phase::Starting) if is_child => {
                let pid = child.pid.map(Pid::as_raw);
                (child.phase, child.since) = (Phase::Ready, now);
                // Before it is logged: a reader of the log must find the child ready.
                if !child.leaving {
                    place.set_state(ChildState::Ready);
                }
                info!(child = id.slot, r#gen = generation, pid, "ready");
                self.startup.child_was_ready = true;
            }
            (ChildReport::Unloadable(unloadable), Phase::Starting) if is_child && is_trial => {
                self.reload_failed(unloadable.why);
            }
            (ChildReport::Unloadable(unloadable), Phase::Starting) if is_child => {
                self.application_unloadable(&unloadable);
            }
            (ChildReport::Modules { files }, phase) if is_child => {
                let since = (phase == Phase::Starting).then_some(child.since);
                self.watch_modules(generation, files, since);
            }
            // Only wakes the loop: the rules count requests themselves.
            (ChildReport::Spent, Phase::Ready) if !child.spent => child.spent = true,
            // Reported once, and also by a child that is being replaced for another reason.
            (ChildReport::Terminated, Phase::Ready) if !child.terminated => child.terminated = true,
            (ChildReport::Draining, Phase::Ready) => child.drains = true,
            // A child is born and ready only once, and a ready child has loaded the application.
            (report, phase) => {
                let report = report.name();
                let child = id.slot;
                warn!(
                    child,
                    r#gen = generation,
                    report,
                    ?phase,
                    "said what makes no sense"
                );
                self.count_unexpected(id);
            }
        }
    }

    fn count_unexpected(&mut self, id: ChildId) {
        let child = self.slot_of(id).and_then(Slot::child_mut);
        if child.is_some_and(|child| is_too_much(&mut child.unexpected)) {
            self.cut_off(id);
        }
    }

    /// The intermediate process reports the child's process id, because the child cannot do so yet. It is accepted
    /// if the kernel lists that process as a child of ours, or of the sender, which must be a child of the mold.
    fn child_was_forked(&mut self, id: ChildId, pid: Pid, speaker: Pid, strangers: &[Pid]) {
        let generation = self
            .slot_of(id)
            .and_then(|slot| slot.child())
            .map(|child| child.generation);
        if strangers.contains(&pid) || self.role_of(pid).is_some() {
            return self.count_unexpected(id);
        }
        let of_mold = |between| {
            let mold = parent_of(between);
            let mut molds = self.molds.iter();
            molds.any(|known| Some(known.generation) == generation && Some(known.pid) == mold)
        };
        let unadopted = if is_ours(pid) {
            None
        } else {
            // In this order: the handle is then known to refer to the process that had the id all the time.
            let handle = Handle::open(pid).ok();
            let found = handle.filter(|handle| {
                parent_of(pid) == Some(speaker) && of_mold(speaker) && handle.signal(None).is_ok()
            });
            // It may have been adopted meanwhile.
            if found.is_none() && !is_ours(pid) {
                debug!(
                    child = id.slot,
                    pid = pid.as_raw(),
                    "is no process of a mold's"
                );
                return self.count_unexpected(id);
            }
            found
        };
        let now = self.now();
        if let Some(child) = self.slot_of(id).and_then(Slot::child_mut) {
            (child.pid, child.unadopted) = (Some(pid), unadopted);
            (child.phase, child.since) = (Phase::Starting, now);
            if child.leaving {
                child.kill();
            }
        }
    }

    /// A process reports that it is the child: it must be a child process of ours with no other role.
    fn child_was_born(&mut self, id: ChildId, speaker: Pid, strangers: &[Pid]) {
        let known = self.role_of(speaker);
        let is_stranger = strangers.contains(&speaker) || matches!(known, Some(Role::Mold));
        let now = self.now();
        let Some(child) = self.slot_of(id).and_then(Slot::child_mut) else {
            return;
        };
        let is_new = match child.pid {
            Some(pid) => pid == speaker,
            None => known.is_none(),
        };
        if is_stranger || !is_new || !is_ours(speaker) {
            return self.cut_off(id);
        }
        let (pid, generation) = (speaker.as_raw(), child.generation);
        info!(child = id.slot, r#gen = generation, pid, "started");
        (child.pid, child.unadopted, child.born) = (Some(speaker), None, true);
        (child.phase, child.since) = (Phase::Starting, now);
        if child.leaving {
            child.kill();
        }
        let place = self.exchange.scoreboard().child(id.slot);
        place.set_pid(pid.cast_unsigned());
        self.events.push(pool::Event::Born);
    }
}

/// Counts unexpected messages, and returns whether there were too many: each one costs a log line.
fn is_too_much(unexpected: &mut u8) -> bool {
    *unexpected = unexpected.saturating_add(1);
    *unexpected >= MOST_UNEXPECTED
}
