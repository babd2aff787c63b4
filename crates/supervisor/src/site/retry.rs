//! In development, an application that cannot be loaded is retried when its files change.

use std::path::PathBuf;
use std::time::Duration;

use tracing::{error, info};

use crate::Preload;
use crate::site::slots::{Mold, Slot};
use crate::site::{Effect, Site};

impl Site<'_> {
    /// Watches the module files that a mold or a child of this generation has reported.
    pub(crate) fn watch_modules(
        &mut self,
        generation: u32,
        files: Vec<PathBuf>,
        since: Option<Duration>,
    ) {
        // Children of a former generation may still import modules.
        if self.settings.watch_modules && generation >= self.generation {
            let now = self.now();
            self.changes.watch_modules(generation, files, since, now);
        }
    }

    /// Keeps only the modules of these generations.
    pub(crate) fn keep_modules_of(&mut self, generations: &[u32]) {
        let now = self.now();
        self.changes
            .keep_modules_of(generations, &self.settings, now);
    }

    /// Requests the reload that is due.
    pub(crate) fn reload_changed(&mut self) {
        let now = self.now();
        if !self.changes.take_due(now) {
            return;
        }
        if self.changes.waits {
            self.try_start_again("files have changed");
        } else {
            self.ask_for_reload("files have changed", None);
        }
    }

    /// The first generation waits for a change of files.
    pub(crate) fn waits_for_change(&self) -> bool {
        self.changes.waits
    }

    /// In development, an application that cannot be loaded waits for a change. Until then, requests wait.
    pub(crate) fn wait_for_change(&mut self) {
        if !self.changes.waits {
            info!("waiting for a change of the application's files");
        }
        self.changes.waits = true;
        self.break_off_reload("the application cannot be loaded: the log says why");
        self.molds.iter_mut().for_each(Mold::kill);
        for child in self.slots.iter_mut().filter_map(Slot::child_mut) {
            child.kill();
        }
    }

    /// Loads the first generation again, with the current settings.
    pub(crate) fn try_start_again(&mut self, cause: &str) {
        info!(cause, "loading the application again");
        match self.roles.reread() {
            Ok(read) => {
                self.roles.settle(true);
                self.settings = read.settings;
                self.effects
                    .push(Effect::Configured(Box::new(self.settings.clone())));
                self.preload = self.settings.preload != Preload::Off;
                self.changes.forget_modules();
                self.changes.waits = false;
                self.startup.progress = self.now();
            }
            Err(why) => {
                error!(reason = why, "the configuration cannot be read");
                self.break_off_reload(&why);
            }
        }
    }
}
