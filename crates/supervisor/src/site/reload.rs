//! A reload: a new generation replaces the serving one, or fails and changes nothing.
//!
//! The new mold loads the application while the old generation serves, and then forks one child. Once this child
//! takes requests, the new generation is the current one, and the rules replace the other children one by one. If
//! anything fails before, the old generation stays, with its mold and its settings.

use std::ops::ControlFlow;
use std::time::Duration;

use exchange::ChildId;
use nix::errno::Errno;
use tracing::{error, info};

use crate::config::{Preload, Reread};
use crate::roles::{MoldBirth, MoldNewborn};
use crate::site::reloads::{Reload, Reloaded, Step, Waiter, children};
use crate::site::slots::{Phase, Place, Slot};
use crate::site::{Effect, ServerState, Site};

impl Site<'_> {
    /// Requests a reload. `waiter` gets its result.
    pub(crate) fn ask_for_reload(&mut self, cause: &str, waiter: Option<Waiter>) {
        // A reload that begins later covers all requests made until then.
        let goes_on = self.reloads.running.as_ref();
        let goes_on = goes_on.map(|reload| reload.generation);
        info!(goes_on, cause, "reload asked for");
        if self.server_state == ServerState::Stopping {
            let failed = Reloaded::Failed {
                generation: None,
                why: "the server is stopping".to_owned(),
            };
            failed.notify(waiter);
            return;
        }
        if self.waits_for_change() {
            // Nothing is served yet. For the waiter, a successful start is the reload.
            if let Some(waiter) = waiter {
                self.reloads.asked.get_or_insert_default().push(waiter);
            }
            self.try_start_again(cause);
            return;
        }
        self.reloads.asked.get_or_insert_default().extend(waiter);
    }

    /// Continues a reload as far as possible. Breaks in a forked process.
    pub(super) fn go_on_with_reload(&mut self) -> ControlFlow<MoldNewborn> {
        if self.server_state != ServerState::Serving {
            return ControlFlow::Continue(());
        }
        if self.reloads.running.is_none()
            && let Some(waiters) = self.reloads.asked.take()
        {
            self.begin_reload(waiters);
        }
        let now = self.now();
        let Some(reload) = &self.reloads.running else {
            return ControlFlow::Continue(());
        };
        let is_over = self.step_ends().is_some_and(|end| now >= end);
        match reload.stage {
            Step::Mold => {
                // With preload off, the mold that could not share must have exited first: there is one new mold at
                // a time.
                if self.molds.next.is_none() {
                    return self.build_next_mold();
                }
            }
            Step::Loading
                if self
                    .molds
                    .next
                    .as_ref()
                    .is_some_and(|mold| mold.ready.is_some()) =>
            {
                self.next_step(Step::WaitsForSlot);
                self.try_first_child();
            }
            Step::Loading if is_over => {
                self.reload_failed(
                    "the new mold was not ready within the startup timeout".to_owned(),
                );
            }
            Step::WaitsForSlot if is_over => self.reload_failed(self.why_no_slot()),
            Step::WaitsForSlot if self.vacant_slot().is_some() => self.try_first_child(),
            Step::Trial(id) => {
                let child = self.slot_of(id).and_then(|slot| slot.child());
                if child.is_some_and(|child| child.phase == Phase::Ready) {
                    self.take_over();
                } else if is_over {
                    self.reload_failed(
                        "the first child of the new generation was not ready within the startup timeout"
                            .to_owned(),
                    );
                }
            }
            Step::Loading | Step::WaitsForSlot => {}
            Step::Replacing(left) => self.finish_reload(left, is_over),
        }
        ControlFlow::Continue(())
    }

    /// When a reload times out, or its progress is to be reported.
    pub(crate) fn reload_due(&self) -> Option<Duration> {
        let due = self.step_ends().into_iter().chain(self.progress_due());
        due.min()
    }

    /// When the current step of a reload times out. A starting process has the startup timeout, a leaving one the
    /// shutdown timeout.
    fn step_ends(&self) -> Option<Duration> {
        let reload = self.reloads.running.as_ref()?;
        let starts = reload.settings.startup_timeout;
        let starts_and_leaves = starts + self.settings.shutdown_timeout;
        match reload.stage {
            Step::Mold => None,
            Step::Loading | Step::Trial(_) => Some(reload.since + starts),
            // A child that is about to be replaced holds a slot, too.
            Step::WaitsForSlot | Step::Replacing(_) => Some(reload.since + starts_and_leaves),
        }
    }

    fn why_no_slot(&self) -> String {
        let leaving = self.leaving_children().len();
        let is_gone = |slot: &&Slot| matches!(slot.place, Place::Gone(..));
        let gone = self.slots.iter().filter(is_gone).count();
        let mut why = Vec::new();
        if leaving > 0 {
            let is = if leaving == 1 { "is" } else { "are" };
            why.push(format!("{} {is} still leaving", children(leaving)));
        }
        if gone > 0 {
            why.push(format!(
                "the front has not cleared what {} left",
                children(gone)
            ));
        }
        format!("no slot is free: {}", why.join(", and "))
    }

    fn next_step(&mut self, step: Step) {
        let since = self.now();
        if let Some(reload) = &mut self.reloads.running {
            (reload.stage, reload.since) = (step, since);
        }
    }

    /// A generation is loading. The serving mold is not replaced meanwhile, because its code may have been replaced
    /// on disk.
    pub(crate) fn is_loading_next(&self) -> bool {
        let running = self.reloads.running.as_ref();
        running.is_some_and(|reload| !matches!(reload.stage, Step::Replacing(_)))
    }

    /// A reload is going on.
    pub(crate) fn is_reloading(&self) -> bool {
        self.reloads.running.is_some()
    }

    /// This child is the first one of a generation that has not taken over.
    pub(crate) fn is_trial(&self, id: ChildId) -> bool {
        let running = self.reloads.running.as_ref();
        running.is_some_and(|reload| reload.stage == Step::Trial(id))
    }

    /// The new generation's application cannot be shared.
    pub(crate) fn next_cannot_be_shared(&mut self) {
        let Some(reload) = &mut self.reloads.running else {
            return;
        };
        if reload.settings.preload != Preload::Auto || !reload.preload {
            return;
        }
        reload.preload = false;
        reload.stage = Step::Mold;
        self.discard_next_mold();
    }

    /// The new generation has failed.
    pub(crate) fn reload_failed(&mut self, why: String) {
        let Some(reload) = self.reloads.running.take() else {
            return;
        };
        self.discard_next_mold();
        if let Step::Trial(id) = reload.stage
            && let Some(child) = self.slot_of(id).and_then(Slot::child_mut)
        {
            child.kill();
        }
        self.roles.settle(false);
        self.effects.push(Effect::Reloaded);
        let generation = reload.generation;
        // The modules of the failed generation are watched, because they will be fixed.
        self.keep_modules_of(&[self.generation, generation]);
        let reason = why.trim_end().lines().last().unwrap_or_default();
        error!(
            r#gen = generation,
            serving = self.generation,
            reason,
            "reload failed: the old generation serves on"
        );
        Reloaded::Failed {
            generation: Some(generation),
            why,
        }
        .notify(reload.waiters);
    }

    /// Aborts the running and requested reloads.
    pub(crate) fn break_off_reload(&mut self, why: &str) {
        if self.is_loading_next() {
            self.reload_failed(why.to_owned());
        }
        let waiters = self.reloads.running.take().into_iter();
        let waiters = waiters.flat_map(|reload| reload.waiters);
        let waiters = waiters.chain(self.reloads.asked.take().into_iter().flatten());
        let failed = Reloaded::Failed {
            generation: None,
            why: why.to_owned(),
        };
        failed.notify(waiters);
    }

    fn begin_reload(&mut self, waiters: Vec<Waiter>) {
        self.effects.push(Effect::Reloading);
        let Reread {
            settings,
            need_restart,
        } = match self.roles.reread() {
            Ok(reread) => reread,
            Err(why) => {
                error!(reason = why, "reload failed: the old generation serves on");
                let generation = None;
                self.effects.push(Effect::Reloaded);
                Reloaded::Failed { generation, why }.notify(waiters);
                return;
            }
        };
        self.reloads.newest = self.reloads.newest.max(self.generation) + 1;
        let (generation, since) = (self.reloads.newest, self.now());
        info!(r#gen = generation, serving = self.generation, "reloading");
        self.reloads.running = Some(Reload {
            generation,
            stage: Step::Mold,
            since,
            preload: settings.preload != Preload::Off,
            settings,
            need_restart,
            waiters,
        });
    }

    fn build_next_mold(&mut self) -> ControlFlow<MoldNewborn> {
        let since = self.now();
        let Some(reload) = &mut self.reloads.running else {
            return ControlFlow::Continue(());
        };
        let birth = MoldBirth {
            site: self.id,
            generation: reload.generation,
            preload: reload.preload,
            is_first: true,
        };
        (reload.stage, reload.since) = (Step::Loading, since);
        match self.fork_mold(birth)? {
            Ok(mold) => self.molds.next = Some(mold),
            Err(errno) => self.reload_failed(format!("the new mold cannot be forked: {errno}")),
        }
        ControlFlow::Continue(())
    }

    /// Orders the first child of the new generation.
    fn try_first_child(&mut self) {
        let Some(slot) = self.vacant_slot() else {
            // All slots are held by leaving children: wait until one of them has gone.
            return;
        };
        match self.order_of(slot, true) {
            Ok(id) => self.next_step(Step::Trial(id)),
            // The mold has just died; its end will be handled.
            Err(Errno::EPIPE) => {}
            Err(errno) => self.reload_failed(format!(
                "the first child of the new generation cannot be ordered: {errno}"
            )),
        }
    }

    /// Makes the new generation the current one.
    fn take_over(&mut self) {
        let Some(reload) = &mut self.reloads.running else {
            return;
        };
        let (generation, preload) = (reload.generation, reload.preload);
        self.settings = reload.settings.clone();
        self.effects
            .push(Effect::Configured(Box::new(self.settings.clone())));
        self.generation = generation;
        self.preload = preload;
        self.scaled = None;
        self.observed.largest_private = 0;
        self.roles.settle(true);
        // It stays as long as it has children: see `dismiss_former_molds`.
        let former = std::mem::replace(&mut self.molds.serving, self.molds.next.take());
        self.molds.former.extend(former);
        self.events.push(pool::Event::GracefulRestart);
        self.keep_modules_of(&[generation]);
        info!(r#gen = generation, "takes over");
        // They are counted at the next check.
        self.next_step(Step::Replacing(usize::MAX));
    }

    /// Ends the reload when no child of an earlier generation takes requests. `left`: how many did at the last
    /// check; `is_over`: the time limit has passed, and the next reload is not to wait for it.
    fn finish_reload(&mut self, left: usize, is_over: bool) {
        let generation = self.generation;
        let former = self.of_former_generations().len();
        if former > 0 && former < left {
            self.next_step(Step::Replacing(former));
            return;
        }
        if former > 0 && !is_over {
            return;
        }
        let Some(reload) = self.reloads.running.take() else {
            return;
        };
        self.effects.push(Effect::Reloaded);
        if former == 0 {
            info!(r#gen = generation, "reloaded");
            let need_restart = reload.need_restart;
            Reloaded::Done {
                generation,
                need_restart,
            }
            .notify(reload.waiters);
            return;
        }
        let why = format!(
            "generation {generation} serves beside {} of earlier ones: no further one could be replaced within the \
             startup timeout and the shutdown timeout",
            children(former)
        );
        error!(
            r#gen = generation,
            children = former,
            reason = why,
            "reload not finished"
        );
        Reloaded::Unfinished { why }.notify(reload.waiters);
    }

    fn discard_next_mold(&mut self) {
        if let Some(mut mold) = self.molds.next.take() {
            mold.kill();
            self.molds.former.push(mold);
        }
    }
}
