//! The folders of a generation, with links resolved when the generation begins.
//!
//! Deploys switch a symbolic link: `current` points to another folder from one moment to the next. So a generation
//! resolves all names once, at its beginning, and each of its molds enters the resolved folder: later imports of
//! its children, and molds that replace dead ones, use the same release. The next generation resolves the names
//! anew.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracing::{error, warn};

use crate::config::{Config, Target};

/// The configuration of a generation, and its folders.
#[derive(Debug)]
pub(crate) struct Release {
    given: Config,
    found: Arc<Config>,
    /// The path of the folder in which the server was started.
    start: PathBuf,
}

impl Release {
    /// Resolves the paths of the options; relative ones were made absolute from `start`.
    ///
    /// # Errors
    /// When the application's folder does not exist; the error is a message.
    pub(crate) fn find(given: Config, start: &Path) -> Result<Self, String> {
        let name = given.chdir.as_deref().unwrap_or(start);
        let folder = name
            .canonicalize()
            .map_err(|problem| cannot_be_entered(name, &problem))?;
        let mut found = given.clone();
        found.chdir = Some(folder);
        for path in &mut found.python_path {
            follow(path);
        }
        if let Target::File { path: file, .. } | Target::Paste { path: file, .. } = &mut found.app {
            follow_parents(file, 1);
        }
        found.python = chosen_python(&given).map(|(_, python)| python);
        if let Some(python) = &mut found.python {
            if python.is_dir() {
                follow(python);
            } else if python
                .ancestors()
                .nth(2)
                .is_some_and(|environment| environment.join("pyvenv.cfg").is_file())
            {
                // `bin/python` itself is a link out of the environment.
                follow_parents(python, 2);
            }
        }
        Ok(Self {
            given,
            found: Arc::new(found),
            start: start.to_owned(),
        })
    }

    /// The options as given, for all processes except molds.
    pub(crate) fn given(&self) -> &Config {
        &self.given
    }

    /// Warns when the packages are those of another release than the one that was served when the server was
    /// started, whose interpreter runs in all of its processes.
    pub(crate) fn compare_packages(&self, started: Option<&Path>, environment: &Path) {
        let Some(started) = started.filter(|started| self.found.chdir.as_deref() != Some(started))
        else {
            return;
        };
        let real = environment.canonicalize();
        if real.as_deref().unwrap_or(environment).starts_with(started) {
            warn!(
                environment = %environment.display(),
                "the packages are still those of another release: USR2 or a restart takes those of this one"
            );
        }
    }

    /// The resolved folder.
    pub(crate) fn folder(&self) -> Option<&Path> {
        self.found.chdir.as_deref()
    }

    /// Enters the folder, and returns the options with all paths resolved.
    ///
    /// # Errors
    /// When that fails; the error was logged.
    pub(crate) fn enter(&self) -> Result<Arc<Config>, String> {
        match enter(&self.found) {
            Ok(()) => Ok(Arc::clone(&self.found)),
            // Without `--chdir`, the current folder may be closed to the application's user, who may not need it.
            Err(problem)
                if problem.kind() == ErrorKind::PermissionDenied && self.given.chdir.is_none() =>
            {
                let folder = self.start.display();
                warn!(%folder, "may not be entered by the application's user, who works in / instead");
                Ok(Arc::clone(&self.found))
            }
            // A mold replaces a dead one, and the release has been removed: the current release is better than
            // none.
            Err(problem) if problem.kind() == ErrorKind::NotFound => {
                let again = Self::find(self.given.clone(), &self.start)?;
                if let (Some(gone), Some(folder)) = (&self.found.chdir, &again.found.chdir) {
                    warn!(gone = %gone.display(), folder = %folder.display(), "the folder of this generation is gone");
                }
                enter(&again.found).map_err(|problem| again.log_error(&problem))?;
                Ok(again.found)
            }
            Err(problem) => Err(self.log_error(&problem)),
        }
    }

    /// Runs `act` in the folder in which the server was started, to which relative paths in the environment refer,
    /// and returns to the entered folder.
    pub(crate) fn at_start<T>(&self, entered: &Config, act: impl FnOnce() -> T) -> T {
        // The folder may be closed to this user, or removed. Without `--chdir` it is the entered folder.
        let moved = self.given.chdir.is_some() && std::env::set_current_dir(&self.start).is_ok();
        let done = act();
        if moved && let Err(problem) = enter(entered) {
            self.log_error(&problem);
        }
        done
    }

    fn log_error(&self, problem: &std::io::Error) -> String {
        let name = self.found.chdir.as_deref().unwrap_or(&self.start);
        let message = cannot_be_entered(name, problem);
        error!("{message}");
        message
    }
}

fn enter(config: &Config) -> std::io::Result<()> {
    config
        .chdir
        .as_deref()
        .map_or(Ok(()), std::env::set_current_dir)
}

fn cannot_be_entered(folder: &Path, problem: &std::io::Error) -> String {
    format!(
        "the folder {} cannot be entered: {problem}",
        folder.display()
    )
}

/// The chosen interpreter or environment, and its source: an option, or an activated environment.
pub(crate) fn chosen_python(config: &Config) -> Option<(&'static str, PathBuf)> {
    let activated = || std::env::var_os("VIRTUAL_ENV").filter(|folder| !folder.is_empty());
    match &config.python {
        Some(python) => Some(("--python", python.clone())),
        None => activated().map(|folder| ("VIRTUAL_ENV", folder.into())),
    }
}

/// Resolves all links. A path that does not exist stays as it is, and fails where it is used.
fn follow(path: &mut PathBuf) {
    if let Ok(real) = path.canonicalize() {
        *path = real;
    }
}

/// Resolves the links in all but the last `count` components.
fn follow_parents(path: &mut PathBuf, count: usize) {
    let parent = path.ancestors().nth(count).map(Path::to_owned);
    if let Some(parent) = parent
        && let Ok(rest) = path.strip_prefix(&parent)
        && let Ok(real) = parent.canonicalize()
    {
        *path = real.join(rest);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_links_in_the_folders_of_a_file_are_resolved() {
        let top = tempfile::tempdir().unwrap();
        let top = top.path();
        fs::create_dir_all(top.join("releases/1/bin")).unwrap();
        fs::write(top.join("shared.wsgi"), "").unwrap();
        symlink("../../shared.wsgi", top.join("releases/1/site.wsgi")).unwrap();
        symlink("releases/1", top.join("current")).unwrap();
        let real = top.canonicalize().unwrap();
        let mut file = top.join("current/site.wsgi");
        follow_parents(&mut file, 1);
        assert_eq!(file, real.join("releases/1/site.wsgi"));
        let mut python = top.join("current/bin/python");
        follow_parents(&mut python, 2);
        assert_eq!(python, real.join("releases/1/bin/python"));
        let mut gone = top.join("nowhere/lib");
        follow(&mut gone);
        assert_eq!(gone, top.join("nowhere/lib"));
    }
}
