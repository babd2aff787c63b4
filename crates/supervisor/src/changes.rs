//! Files of which a change asks for a reload: those that the operator touches, and the application's modules.

use std::path::PathBuf;
use std::time::Duration;

use tracing::{info, warn};

use crate::monitor::Monitor;
use crate::watch::Watcher;

/// How long no file must have changed: whoever deploys or saves changes several, one after the other.
const QUIET: Duration = Duration::from_millis(150);

/// What is watched, and what has changed.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    pub(crate) watcher: Option<Watcher>,
    /// When the reload is due that changes have asked for.
    due: Option<Duration>,
}

impl Monitor<'_> {
    /// Watches over the files that are touched for a reload.
    pub(crate) fn watch_touched(&mut self) {
        let files = self.settings.touch_reload.clone();
        self.watch_files(&files);
    }

    /// Watches over the files of modules that a mold or a child tells of.
    pub(crate) fn watch_modules(&mut self, files: &[PathBuf]) {
        if self.settings.watch_modules {
            self.watch_files(files);
        }
    }

    fn watch_files(&mut self, files: &[PathBuf]) {
        if files.is_empty() {
            return;
        }
        if self.changes.watcher.is_none() {
            match Watcher::new() {
                Ok(watcher) => self.changes.watcher = Some(watcher),
                Err(errno) => warn!(%errno, "files cannot be watched"),
            }
        }
        let Some(watcher) = &mut self.changes.watcher else {
            return;
        };
        for file in files {
            if let Err(errno) = watcher.add(file) {
                warn!(file = %file.display(), %errno, "cannot be watched");
            }
        }
    }

    /// Hears of changed files.
    pub(crate) fn hear_of_changes(&mut self) {
        let Some(watcher) = &mut self.changes.watcher else {
            return;
        };
        for file in watcher.changed() {
            info!(file = %file.display(), "changed");
            self.changes.due = Some(self.now() + QUIET);
        }
    }

    /// When a reload is due.
    pub(crate) fn changes_due(&self) -> Option<Duration> {
        self.changes.due
    }

    /// Asks for the reload that is due.
    pub(crate) fn reload_changed(&mut self) {
        if self.changes.due.is_some_and(|due| due <= self.now()) {
            self.changes.due = None;
            self.ask_for_reload("files have changed", None);
        }
    }
}
