//! Files of which a change asks for a reload: those that the operator touches, and in development the application's
//! modules and what else was named.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use tracing::{debug, error, info, warn};

use crate::family::{Mold, Slot};
use crate::monitor::Monitor;
use crate::watch::{MOST_FOLDERS, Problem, Target, Watcher, refusal};

/// How long no file must have changed: whoever deploys or saves changes several, one after the other.
const QUIET: Duration = Duration::from_millis(150);

/// After this time what changes all the time is not waited for any more.
const LONGEST: Duration = Duration::from_secs(2);

/// So many names are logged of what changes at once.
const NAMED: usize = 10;

/// Files that are remembered of the modules of one generation, which tells of them itself.
const MOST_MODULES: usize = 100_000;

/// What is watched, and what has changed.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    pub(crate) watcher: Option<Watcher>,
    /// The files of modules of the generation that serves, of one on its way, and of the last one that failed.
    modules: BTreeMap<u32, BTreeSet<PathBuf>>,
    burst: Option<Burst>,
    /// Nothing has been served yet, since the application cannot be loaded before something changes.
    waits: bool,
}

/// Changes close together.
#[derive(Debug)]
struct Burst {
    first: Duration,
    last: Duration,
    files: BTreeSet<PathBuf>,
}

impl Monitor<'_> {
    /// Watches over what is to be watched from now on, and over nothing else: names may lead elsewhere, and modules of
    /// former generations are nobody's concern.
    pub(crate) fn watch_anew(&mut self) {
        let touched = self.settings.touch_reload.iter().cloned();
        let mut targets: BTreeMap<PathBuf, Target> = touched
            .map(|path| (path.clone(), Target::Path(path)))
            .collect();
        let mut patterns = Vec::new();
        if self.settings.watch_modules {
            for include in &self.settings.reload_include {
                match &include.0 {
                    Target::Path(path) => {
                        targets.insert(path.clone(), include.0.clone());
                    }
                    Target::Matching { .. } => patterns.push(include.0.clone()),
                }
            }
            let modules = self.changes.modules.values().flatten();
            targets.extend(modules.map(|path| (path.clone(), Target::Path(path.clone()))));
        }
        let targets: Vec<_> = targets.into_values().chain(patterns).collect();
        if let Some(watcher) = &mut self.changes.watcher {
            watcher.set(targets);
        } else if !targets.is_empty() {
            self.watch_more(targets, None);
        }
        self.hear_of_changes();
    }

    /// Watches over the files of modules that a mold or a child of this generation tells of. What has been written since
    /// it began to load them is perhaps not what it has loaded.
    pub(crate) fn watch_modules(
        &mut self,
        generation: u32,
        files: Vec<PathBuf>,
        since: Option<Duration>,
    ) {
        // Children of a former one may still import.
        if !self.settings.watch_modules || generation < self.generation {
            return;
        }
        let known: Vec<_> = files
            .iter()
            .map(|file| {
                self.changes
                    .modules
                    .values()
                    .any(|files| files.contains(file))
            })
            .collect();
        let new = files.iter().zip(known).filter(|(_, known)| !known);
        let new: Vec<_> = new.map(|(file, _)| Target::Path(file.clone())).collect();
        let modules = self.changes.modules.entry(generation).or_default();
        modules.extend(
            files
                .into_iter()
                .take(MOST_MODULES.saturating_sub(modules.len())),
        );
        let files = new.len();
        let since =
            since.and_then(|since| SystemTime::now().checked_sub(self.now().saturating_sub(since)));
        self.watch_more(new, since);
        debug!(r#gen = generation, files, "watching modules");
        self.hear_of_changes();
    }

    /// Of modules, only those of these generations count from now on.
    pub(crate) fn keep_modules_of(&mut self, generations: &[u32]) {
        self.changes
            .modules
            .retain(|generation, _| generations.contains(generation));
        self.watch_anew();
    }

    fn watch_more(&mut self, targets: Vec<Target>, since: Option<SystemTime>) {
        if self.changes.watcher.is_none() {
            match Watcher::new() {
                Ok(watcher) => self.changes.watcher = Some(watcher),
                Err(errno) => warn!(error = %refusal(errno), "files cannot be watched"),
            }
        }
        if let Some(watcher) = &mut self.changes.watcher {
            watcher.add(targets, since);
        }
    }

    fn tell_problems(&mut self) {
        let Some(watcher) = &mut self.changes.watcher else {
            return;
        };
        for problem in watcher.problems() {
            match problem {
                Problem::Refused(path, errno) => {
                    warn!(path = %path.display(), %errno, "cannot be watched");
                }
                Problem::Limit => warn!(
                    "not all files are watched: the user has as many watches as fs.inotify.max_user_watches allows"
                ),
                Problem::TooMany(folder) => warn!(
                    folder = %folder.display(),
                    most = MOST_FOLDERS,
                    "not all files are watched: there are too many folders in this one"
                ),
            }
        }
    }

    /// Hears of changed files.
    pub(crate) fn hear_of_changes(&mut self) {
        let now = self.now();
        let Some(watcher) = &mut self.changes.watcher else {
            return;
        };
        let changed = watcher.changed();
        if changed.lost {
            warn!("more has changed than the kernel could tell of");
        }
        if changed.lost || !changed.files.is_empty() {
            let burst = self.changes.burst.get_or_insert_with(|| Burst {
                first: now,
                last: now,
                files: BTreeSet::new(),
            });
            burst.last = now;
            for file in changed.files {
                if burst.files.len() < NAMED && !burst.files.contains(&file) {
                    info!(file = %file.display(), "changed");
                }
                burst.files.insert(file);
            }
        }
        self.tell_problems();
    }

    /// When a reload is due.
    pub(crate) fn changes_due(&self) -> Option<Duration> {
        let burst = self.changes.burst.as_ref()?;
        Some((burst.last + QUIET).min(burst.first + LONGEST))
    }

    /// Asks for the reload that is due.
    pub(crate) fn reload_changed(&mut self) {
        if self.changes_due().is_none_or(|due| self.now() < due) {
            return;
        }
        if let Some(burst) = self.changes.burst.take()
            && burst.files.len() > NAMED
        {
            info!(files = burst.files.len(), "changed");
        }
        if self.changes.waits {
            self.try_start_again("files have changed");
        } else {
            self.ask_for_reload("files have changed", None);
        }
    }

    /// The first generation waits for a change.
    pub(crate) fn waits_for_change(&self) -> bool {
        self.changes.waits
    }

    /// In development, an application that cannot be loaded is about to be mended. Until then, requests wait.
    pub(crate) fn wait_for_change(&mut self) {
        if !self.changes.waits {
            info!("waiting for a change of the application's files");
        }
        self.changes.waits = true;
        self.break_off_reload("the application cannot be loaded: the log says why");
        self.molds_mut().for_each(Mold::kill);
        for child in self.slots.iter_mut().filter_map(Slot::child_mut) {
            child.kill();
        }
    }

    /// Loads the first generation once more, as it is configured by now.
    pub(crate) fn try_start_again(&mut self, cause: &str) {
        info!(cause, "loading the application again");
        match self.roles.reread() {
            Ok(read) => {
                self.roles.settle(true);
                self.settings = read.settings;
                self.preload = self.settings.preload != crate::Preload::Off;
                self.changes.modules.clear();
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
