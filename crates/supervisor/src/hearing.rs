//! What the front, the mold and the children say.

use exchange::notice::{FromFront, ToFront};
use exchange::{ChildId, ChildState};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use tracing::{error, info, warn};

use crate::Preload;
use crate::channel::Heard;
use crate::family::{Drain, Mold, Phase, Place, Slot, Word, kill_now};
use crate::message::{ChildReport, MoldReport, Unloadable};
use crate::monitor::Monitor;
use crate::stopping::Stage;
use crate::verdict::Verdict;

/// What becomes of an application that cannot be shared.
pub(crate) const LOADED_BY_EACH: &str =
    "each child loads the application itself, as with --preload off";

impl Monitor<'_> {
    /// Hears all that the front has to say.
    pub(crate) fn hear_front(&mut self) {
        while let Some(front) = &mut self.front
            && let Some(link) = &front.link
        {
            match link.hear_now() {
                Heard::Said(word) => self.front_says(word),
                Heard::Silence => return,
                Heard::End => {
                    front.link = None;
                    // A front that cannot be told of a child's death would keep its requests waiting for ever.
                    if self.stage.serves() {
                        kill_now(front.pid);
                    }
                }
            }
        }
    }

    fn front_says(&mut self, word: FromFront) {
        let now = self.now();
        match word {
            FromFront::Serving => {
                if let Some(front) = &mut self.front {
                    info!(pid = front.pid.as_raw(), "front serving");
                    front.serving = Some(now);
                }
                for slot in self.all_slots() {
                    if let Place::Gone(_, Word::Inherited) = self.slots[usize::from(slot)].place {
                        self.vacate(slot);
                    }
                }
            }
            FromFront::Cleared(id) => {
                if self
                    .slot_of(id)
                    .is_some_and(|slot| matches!(slot.place, Place::Gone(..)))
                {
                    self.vacate(id.slot);
                }
            }
            FromFront::Drained => {
                if let Some(front) = &mut self.front {
                    front.drain = Drain::Done;
                }
            }
            FromFront::Corrupt(id) => {
                if let Some(child) = self.slot_of(id).and_then(Slot::child_mut) {
                    let pid = child.pid.map(Pid::as_raw);
                    error!(
                        child = id.slot,
                        r#gen = child.generation,
                        pid,
                        "wrote what no child writes"
                    );
                    if let Some(pid) = child.pid {
                        kill_now(pid);
                    }
                }
            }
        }
    }

    /// There is something that the front has to be told as soon as its line has room.
    pub(crate) fn owes_front(&self) -> bool {
        let word = self
            .front
            .as_ref()
            .is_some_and(|front| front.drain == Drain::Owed || front.reopen || front.close);
        word || self
            .slots
            .iter()
            .any(|slot| matches!(slot.place, Place::Gone(_, Word::Owed)))
    }

    /// Has the log files opened anew. A front that is not there opens them anyway when it comes.
    pub(crate) fn reopen_logs(&mut self) {
        info!(signal = %Signal::SIGUSR1, "reopening logs");
        self.logging.maker = self.settings.provide_logs();
        if self.logging.maker.is_none() {
            self.have_logs_reopened();
        }
    }

    /// The files are there: the front opens them.
    pub(crate) fn have_logs_reopened(&mut self) {
        if let Some(front) = &mut self.front {
            front.reopen = true;
        }
        self.pass_words_on();
    }

    /// Tells the front what it has to know, as far as its line has room.
    pub(crate) fn pass_words_on(&mut self) {
        let Some(front) = &mut self.front else { return };
        let Some(link) = &front.link else { return };
        for slot in &mut self.slots {
            if let Place::Gone(id, word @ Word::Owed) = &mut slot.place {
                if link.say_now(ToFront::Gone(*id)).is_err() {
                    return;
                }
                *word = Word::Sent;
            }
        }
        if front.reopen && link.say_now(ToFront::Reopen).is_ok() {
            front.reopen = false;
        }
        if front.close && link.say_now(ToFront::Close).is_ok() {
            front.close = false;
        }
        if front.drain == Drain::Owed && link.say_now(ToFront::Drain).is_ok() {
            front.drain = Drain::Asked;
        }
    }

    /// Hears all that a mold has to say.
    pub(crate) fn hear_mold(&mut self, pid: Pid) {
        loop {
            let heard = match self.molds_mut().find(|mold| mold.pid == pid) {
                Some(Mold {
                    link: Some(link), ..
                }) => link.hear_now(),
                _ => return,
            };
            match heard {
                Heard::Said(report) => self.mold_says(pid, report),
                Heard::Silence => return,
                Heard::End => {
                    let silent = self.molds_mut().filter(|mold| mold.pid == pid);
                    silent.for_each(|mold| mold.link = None);
                    // It can be told nothing any more; mostly it is about to end anyway.
                    kill_now(pid);
                }
            }
        }
    }

    fn mold_says(&mut self, from: Pid, report: MoldReport) {
        let now = self.now();
        let is_next = self.next_mold.as_ref().is_some_and(|mold| mold.pid == from);
        // What a mold that has been given up still says is about nothing that is waited for.
        let Some(mold) = self
            .molds_mut()
            .find(|mold| mold.pid == from && !mold.leaving)
        else {
            return;
        };
        let (generation, pid) = (mold.generation, mold.pid.as_raw());
        match report {
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
                warn!(
                    r#gen = generation,
                    pid, why, "what the application has set up cannot be shared by children"
                );
                if is_next {
                    self.next_cannot_be_shared();
                } else if self.settings.preload == Preload::Auto && self.preload {
                    warn!("{LOADED_BY_EACH}");
                    self.preload = false;
                    self.molds_mut()
                        .filter(|mold| mold.pid == from)
                        .for_each(Mold::kill);
                }
            }
            MoldReport::ForkFailed { child, errno } => {
                let errno = nix::errno::Errno::from_raw(errno);
                warn!(child = child.slot, r#gen = generation, %errno, "cannot be forked");
                self.startup.forks_failed = true;
                self.events.push(pool::Event::ForkFailed);
                if self
                    .slot_of(child)
                    .is_some_and(|slot| slot.child().is_some())
                {
                    self.vacate(child.slot);
                }
                if self.is_trial(child) {
                    self.reload_failed(format!(
                        "the first child of the new generation cannot be forked: {errno}"
                    ));
                }
            }
        }
    }

    fn application_unloadable(&mut self, unloadable: &Unloadable) {
        error!("the application cannot be loaded");
        if self.startup.child_was_ready {
            return;
        }
        if self.settings.watch_modules && self.stage == Stage::Up {
            self.wait_for_change();
        } else {
            self.fail(if unloadable.is_final {
                Verdict::NoApplication
            } else {
                Verdict::NotLoaded
            });
        }
    }

    /// Hears all that a child has to say.
    pub(crate) fn hear_child(&mut self, slot: u16) {
        while let Some(child) = self.slots[usize::from(slot)].child_mut()
            && let Some(link) = &child.link
        {
            let id = child.id;
            match link.hear_now() {
                Heard::Said(report) => self.child_says(id, report),
                Heard::Silence => return,
                Heard::End if child.pid.is_some() => {
                    child.link = None;
                    // It is about to end, or has closed what it does not know: then it can be told nothing any more.
                    child.pid.into_iter().for_each(kill_now);
                }
                Heard::End => self.never_born(id),
            }
        }
    }

    /// The line of a child has ended before its birth.
    fn never_born(&mut self, id: ChildId) {
        // The mold may have told why, or may be on its way out: then its own end is what counts.
        let pids: Vec<_> = self.molds_mut().map(|mold| mold.pid).collect();
        pids.into_iter().for_each(|pid| self.hear_mold(pid));
        if let Some(child) = self.slot_of(id).and_then(|slot| slot.child()) {
            let generation = child.generation;
            if self
                .molds_mut()
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

    fn child_says(&mut self, id: ChildId, report: ChildReport) {
        let now = self.now();
        let is_trial = self.is_trial(id);
        let Some(child) = self.slots[usize::from(id.slot)].child_mut() else {
            return;
        };
        let generation = child.generation;
        let place = self.exchange.board().child(id.slot);
        match (report, child.phase) {
            (ChildReport::Forked { pid }, Phase::Ordered) => {
                child.pid = Some(Pid::from_raw(pid.cast_signed()));
                (child.phase, child.since) = (Phase::Starting, now);
                if child.leaving {
                    child.kill();
                }
            }
            // It was faster than the process between.
            (ChildReport::Forked { .. }, _) => {}
            (ChildReport::Born { pid }, Phase::Ordered | Phase::Starting) => {
                info!(child = id.slot, r#gen = generation, pid, "started");
                place.set_pid(pid);
                child.pid = Some(Pid::from_raw(pid.cast_signed()));
                (child.phase, child.since) = (Phase::Starting, now);
                if child.leaving {
                    child.kill();
                }
                self.events.push(pool::Event::Born);
            }
            (ChildReport::Ready, Phase::Starting) => {
                let pid = child.pid.map(Pid::as_raw);
                (child.phase, child.since) = (Phase::Ready, now);
                // Before it is said: whoever has read that the child is ready finds it so.
                if !child.leaving {
                    place.set_state(ChildState::Ready);
                }
                info!(child = id.slot, r#gen = generation, pid, "ready");
                self.startup.child_was_ready = true;
            }
            (ChildReport::Unloadable(unloadable), Phase::Starting) if is_trial => {
                self.reload_failed(unloadable.why);
            }
            (ChildReport::Unloadable(unloadable), Phase::Starting) => {
                self.application_unloadable(&unloadable);
            }
            (ChildReport::Short, Phase::Ordered | Phase::Starting) => child.is_short = true,
            (ChildReport::Modules { files }, phase) => {
                let since = (phase == Phase::Starting).then_some(child.since);
                self.watch_modules(generation, files, since);
            }
            // It only wakes us: the rules count for themselves.
            (ChildReport::Spent, Phase::Ready) => {}
            (ChildReport::Draining, Phase::Ready) => child.drains = true,
            // Nobody is born or ready twice, and whoever has been ready has loaded the application.
            (report, phase) => warn!(
                child = id.slot,
                r#gen = generation,
                ?report,
                ?phase,
                "said what makes no sense"
            ),
        }
    }
}
