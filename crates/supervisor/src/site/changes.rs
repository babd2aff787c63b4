//! Files whose change triggers a reload: those given by `--touch-reload`, and in development the application's
//! modules and further files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use tracing::{debug, info, warn};

use crate::config::Settings;
use crate::site::watch::{MOST_FOLDERS, Problem, Target, Watcher, refusal};

/// How long files must be unchanged: a deploy or an editor changes several files one after the other.
const QUIET: Duration = Duration::from_millis(150);

/// After this time a reload starts although files still change.
const LONGEST: Duration = Duration::from_secs(2);

/// How many changed files are named in one log line.
const NAMED: usize = 10;

/// The maximum of remembered module files of one generation, because the application itself reports them.
const MOST_MODULES: usize = 100_000;

/// What is watched, and what has changed.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    pub(crate) watcher: Option<Watcher>,
    /// The module files of the serving generation, of a starting one, and of the last one that failed.
    modules: BTreeMap<u32, BTreeSet<PathBuf>>,
    burst: Option<Burst>,
    /// The first generation could not be loaded and waits for a change.
    pub(crate) waits: bool,
}

/// Changes in quick succession.
#[derive(Debug)]
struct Burst {
    first: Duration,
    last: Duration,
    files: BTreeSet<PathBuf>,
}

impl Changes {
    /// Watches exactly the files of the current settings: names may lead elsewhere now, and modules of former
    /// generations no longer matter.
    pub(crate) fn watch_anew(&mut self, settings: &Settings, now: Duration) {
        let touched = settings.touch_reload.iter().cloned();
        let mut targets: BTreeMap<PathBuf, Target> = touched
            .map(|path| (path.clone(), Target::Path(path)))
            .collect();
        let mut patterns = Vec::new();
        if settings.watch_modules {
            for include in &settings.reload_include {
                match &include.0 {
                    Target::Path(path) => {
                        targets.insert(path.clone(), include.0.clone());
                    }
                    Target::Matching { .. } => patterns.push(include.0.clone()),
                }
            }
            let modules = self.modules.values().flatten();
            targets.extend(modules.map(|path| (path.clone(), Target::Path(path.clone()))));
        }
        let targets: Vec<_> = targets.into_values().chain(patterns).collect();
        if let Some(watcher) = &mut self.watcher {
            watcher.set(targets);
        } else if !targets.is_empty() {
            self.watch_more(targets, None);
        }
        self.receive(now);
    }

    /// Watches the module files that a mold or a child of this generation has reported. A file that was written
    /// since loading began may have changed after it was loaded.
    pub(crate) fn watch_modules(
        &mut self,
        generation: u32,
        files: Vec<PathBuf>,
        since: Option<Duration>,
        now: Duration,
    ) {
        let known: Vec<_> = files
            .iter()
            .map(|file| self.modules.values().any(|files| files.contains(file)))
            .collect();
        let new = files.iter().zip(known).filter(|(_, known)| !known);
        let new: Vec<_> = new.map(|(file, _)| Target::Path(file.clone())).collect();
        let modules = self.modules.entry(generation).or_default();
        modules.extend(
            files
                .into_iter()
                .take(MOST_MODULES.saturating_sub(modules.len())),
        );
        let files = new.len();
        let since =
            since.and_then(|since| SystemTime::now().checked_sub(now.saturating_sub(since)));
        self.watch_more(new, since);
        debug!(r#gen = generation, files, "watching modules");
        self.receive(now);
    }

    /// Keeps only the modules of these generations.
    pub(crate) fn keep_modules_of(
        &mut self,
        generations: &[u32],
        settings: &Settings,
        now: Duration,
    ) {
        self.modules
            .retain(|generation, _| generations.contains(generation));
        self.watch_anew(settings, now);
    }

    fn watch_more(&mut self, targets: Vec<Target>, since: Option<SystemTime>) {
        if self.watcher.is_none() {
            match Watcher::new() {
                Ok(watcher) => self.watcher = Some(watcher),
                Err(errno) => warn!(error = %refusal(errno), "files cannot be watched"),
            }
        }
        if let Some(watcher) = &mut self.watcher {
            watcher.add(targets, since);
        }
    }

    fn report_problems(&mut self) {
        let Some(watcher) = &mut self.watcher else {
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

    /// Receives changes.
    pub(crate) fn receive(&mut self, now: Duration) {
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        let changed = watcher.changed();
        if changed.lost {
            warn!("more has changed than the kernel could tell of");
        }
        if changed.lost || !changed.files.is_empty() {
            let burst = self.burst.get_or_insert_with(|| Burst {
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
        self.report_problems();
    }

    /// Forgets the modules of all generations.
    pub(crate) fn forget_modules(&mut self) {
        self.modules.clear();
    }

    /// When a reload is due.
    pub(crate) fn due(&self) -> Option<Duration> {
        let burst = self.burst.as_ref()?;
        Some((burst.last + QUIET).min(burst.first + LONGEST))
    }

    /// Whether a reload is due; true once.
    pub(crate) fn take_due(&mut self, now: Duration) -> bool {
        if self.due().is_none_or(|due| now < due) {
            return false;
        }
        if let Some(burst) = self.burst.take()
            && burst.files.len() > NAMED
        {
            info!(files = burst.files.len(), "changed");
        }
        true
    }
}
