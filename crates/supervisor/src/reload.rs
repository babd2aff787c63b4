//! A new generation takes the place of the one that serves, or it does not and leaves everything as it was.
//!
//! The new mold loads the application while the old generation serves, then forks one child. Once that takes requests,
//! the new generation is the current one, and the rules replace the other children one by one. If anything fails before,
//! the old generation stays, with its mold and with what was configured.

use std::fmt;
use std::ops::ControlFlow;
use std::time::Duration;

use exchange::ChildId;
use tracing::{error, info, warn};

use crate::family::{Child, Mold, Phase, Slot};
use crate::hearing::LOADED_BY_EACH;
use crate::monitor::{Monitor, Newborn};
use crate::stopping::Stage;
use crate::{MoldBirth, Preload, Settings};

/// What came of a reload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reloaded {
    /// All children that take new requests belong to the new generation.
    Done {
        /// Its number.
        generation: u32,
    },
    /// The old generation serves on.
    Failed {
        /// The number of the generation that came to nothing, if it came to one.
        generation: Option<u32>,
        /// Why: the traceback, or another reason.
        why: String,
    },
}

/// Somebody who wants to know what comes of a reload.
pub type Waiter = Box<dyn FnOnce(&Reloaded)>;

/// Reloads: one at a time, and whoever asks meanwhile asks for one more.
#[derive(Default)]
pub(crate) struct Reloads {
    running: Option<Reload>,
    asked: Option<Vec<Waiter>>,
    /// The number of the newest generation, whatever has come of it.
    newest: u32,
}

/// A generation on its way.
struct Reload {
    generation: u32,
    stage: Step,
    /// The last step forward, from which the startup timeout counts.
    since: Duration,
    /// What was configured, to hold with the new generation.
    settings: Settings,
    /// Whether its mold loads the application.
    preload: bool,
    waiters: Vec<Waiter>,
}

/// How far a new generation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Its mold is to be forked.
    Mold,
    /// Its mold loads the application.
    Loading,
    /// Its first child starts.
    Trial(ChildId),
    /// It is the current one; the children of the old one are being replaced.
    Replacing,
}

impl fmt::Debug for Reloads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reloads")
            .field("running", &self.running.as_ref().map(|reload| reload.stage))
            .field("asked", &self.asked.is_some())
            .finish()
    }
}

impl Monitor<'_> {
    /// Asks for a reload. `waiter` is told what came of it.
    pub(crate) fn ask_for_reload(&mut self, cause: &str, waiter: Option<Waiter>) {
        info!(cause, "reload asked for");
        if self.stage != Stage::Up {
            let failed = Reloaded::Failed {
                generation: None,
                why: "the server is stopping".to_owned(),
            };
            waiter.into_iter().for_each(|waiter| waiter(&failed));
            return;
        }
        if self.waits_for_change() {
            self.start_instead_of_reload(cause, waiter);
            return;
        }
        self.reloads.asked.get_or_insert_default().extend(waiter);
    }

    /// Goes on with a reload as far as it comes now. Breaks in a process that was forked.
    pub(crate) fn go_on_with_reload(&mut self) -> ControlFlow<Newborn> {
        if self.stage != Stage::Up || !self.startup.announced {
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
        let timeout = reload.since + reload.settings.startup_timeout;
        match reload.stage {
            Step::Mold => {
                // Without preload, the one that could not share has to be gone first: there is one new mold at a time.
                if self.next_mold.is_none() {
                    return self.build_next_mold();
                }
            }
            Step::Loading
                if self
                    .next_mold
                    .as_ref()
                    .is_some_and(|mold| mold.ready.is_some()) =>
            {
                self.try_first_child();
            }
            Step::Loading if now >= timeout => {
                self.reload_failed(
                    "the new mold was not ready within the startup timeout".to_owned(),
                );
            }
            Step::Trial(id) => {
                let child = self.slot_of(id).and_then(|slot| slot.child());
                if child.is_some_and(|child| child.phase == Phase::Ready) {
                    self.take_over();
                } else if now >= timeout {
                    self.reload_failed(
                        "the first child of the new generation was not ready within the startup timeout"
                            .to_owned(),
                    );
                }
            }
            Step::Loading => {}
            Step::Replacing => self.finish_reload(),
        }
        ControlFlow::Continue(())
    }

    /// When a reload has taken too long.
    pub(crate) fn reload_due(&self) -> Option<Duration> {
        let reload = self.reloads.running.as_ref()?;
        let waits = matches!(reload.stage, Step::Loading | Step::Trial(_));
        waits.then(|| reload.since + reload.settings.startup_timeout)
    }

    /// A generation is on its way and has not taken over: the mold that serves is not built anew from what it may have
    /// been replaced by.
    pub(crate) fn is_loading_next(&self) -> bool {
        let running = self.reloads.running.as_ref();
        running.is_some_and(|reload| reload.stage != Step::Replacing)
    }

    /// A reload is going on.
    pub(crate) fn is_reloading(&self) -> bool {
        self.reloads.running.is_some()
    }

    /// This child is the first of a generation that has not taken over.
    pub(crate) fn is_trial(&self, id: ChildId) -> bool {
        let running = self.reloads.running.as_ref();
        running.is_some_and(|reload| reload.stage == Step::Trial(id))
    }

    /// What the new generation's application has set up cannot be shared.
    pub(crate) fn next_cannot_be_shared(&mut self) {
        let Some(reload) = &mut self.reloads.running else {
            return;
        };
        if reload.settings.preload != Preload::Auto || !reload.preload {
            return;
        }
        warn!(r#gen = reload.generation, "{LOADED_BY_EACH}");
        reload.preload = false;
        reload.stage = Step::Mold;
        self.discard_next_mold();
    }

    /// The new generation comes to nothing.
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
        self.notify.ready();
        let generation = reload.generation;
        // Those of the one that failed are about to be mended.
        self.keep_modules_of(&[self.generation, generation]);
        let reason = why.trim_end().lines().last().unwrap_or_default();
        error!(
            r#gen = generation,
            serving = self.generation,
            reason,
            "reload failed: the old generation serves on"
        );
        tell(
            reload.waiters,
            &Reloaded::Failed {
                generation: Some(generation),
                why,
            },
        );
    }

    /// Nothing comes of what has been asked for any more.
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
        tell(waiters.collect(), &failed);
    }

    fn begin_reload(&mut self, waiters: Vec<Waiter>) {
        self.notify.reloading();
        let settings = match self.roles.reread() {
            Ok(settings) => settings,
            Err(why) => {
                error!(reason = why, "reload failed: the old generation serves on");
                let generation = None;
                self.notify.ready();
                tell(waiters, &Reloaded::Failed { generation, why });
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
            waiters,
        });
    }

    fn build_next_mold(&mut self) -> ControlFlow<Newborn> {
        let since = self.now();
        let Some(reload) = &mut self.reloads.running else {
            return ControlFlow::Continue(());
        };
        let birth = MoldBirth {
            generation: reload.generation,
            preload: reload.preload,
        };
        (reload.stage, reload.since) = (Step::Loading, since);
        match self.fork_mold(birth)? {
            Ok(mold) => self.next_mold = Some(mold),
            Err(errno) => self.reload_failed(format!("the new mold cannot be forked: {errno}")),
        }
        ControlFlow::Continue(())
    }

    /// The mold may be able to fork, and the child to serve, or not.
    fn try_first_child(&mut self) {
        let Some(slot) = self.vacant_slot() else {
            // All slots are held by children that leave: one of them will be gone first.
            return;
        };
        let since = self.now();
        let ordered = self.order_of(slot, true);
        if let (Some(id), Some(reload)) = (ordered, &mut self.reloads.running) {
            (reload.stage, reload.since) = (Step::Trial(id), since);
        }
    }

    /// From here on the new generation is the one that serves.
    fn take_over(&mut self) {
        let Some(reload) = &mut self.reloads.running else {
            return;
        };
        reload.stage = Step::Replacing;
        let (generation, preload) = (reload.generation, reload.preload);
        self.settings = reload.settings.clone();
        self.generation = generation;
        self.preload = preload;
        self.scaled = None;
        self.heaviest = 0;
        self.roles.settle(true);
        if let Some(mut former) = std::mem::replace(&mut self.mold, self.next_mold.take()) {
            former.dismiss();
            self.former_molds.push(former);
        }
        self.events.push(pool::Event::GracefulRestart);
        self.keep_modules_of(&[generation]);
        info!(r#gen = generation, "takes over");
    }

    fn finish_reload(&mut self) {
        let generation = self.generation;
        // One that is not ready and has been told to go has been killed.
        let takes_requests = |child: &Child| {
            let is_going = child.drains || (child.leaving && child.phase != Phase::Ready);
            child.generation != generation && !is_going
        };
        if self
            .slots
            .iter()
            .filter_map(Slot::child)
            .any(takes_requests)
        {
            return;
        }
        if let Some(reload) = self.reloads.running.take() {
            info!(r#gen = generation, "reloaded");
            self.notify.ready();
            tell(reload.waiters, &Reloaded::Done { generation });
        }
    }

    fn discard_next_mold(&mut self) {
        if let Some(mut mold) = self.next_mold.take() {
            mold.kill();
            self.former_molds.push(mold);
        }
    }

    /// All molds that have not been reaped.
    pub(crate) fn molds_mut(&mut self) -> impl Iterator<Item = &mut Mold> {
        self.mold
            .iter_mut()
            .chain(&mut self.next_mold)
            .chain(&mut self.former_molds)
    }

    /// A mold has been reaped.
    pub(crate) fn take_mold(&mut self, pid: nix::unistd::Pid) -> Option<Mold> {
        let is = |mold: &mut Mold| mold.pid == pid;
        let found = self.mold.take_if(is).or_else(|| self.next_mold.take_if(is));
        found.or_else(|| {
            let index = self.former_molds.iter().position(|mold| mold.pid == pid)?;
            Some(self.former_molds.swap_remove(index))
        })
    }

    /// There is a mold that has not been reaped.
    pub(crate) fn has_mold(&self) -> bool {
        self.mold.is_some() || self.next_mold.is_some() || !self.former_molds.is_empty()
    }
}

fn tell(waiters: Vec<Waiter>, outcome: &Reloaded) {
    for waiter in waiters {
        waiter(outcome);
    }
}
