//! The runtime folder, and the control socket in it.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use supervisor::control::Control;
use supervisor::{BindError, exit};
use tracing::{error, warn};

use crate::config::{Config, ControlPlace};
use crate::log;

/// The default name of a control socket; a further server in the same folder adds its process id.
const NAME: &str = "rwsgi";
const SUFFIX: &str = ".sock";

/// The folder for servers of root; for other users only if the environment names it, as systemd does.
const SYSTEM: &str = "/run/rwsgi";

/// The folders in which this user's servers may have their control sockets, most likely first.
pub(crate) fn folders(variable: impl Fn(&str) -> Option<String>) -> Vec<PathBuf> {
    let own = (!supervisor::is_root()).then(own_folder);
    named(variable)
        .chain([PathBuf::from(SYSTEM)])
        .chain(own)
        .collect()
}

/// The folders that the environment names.
fn named(variable: impl Fn(&str) -> Option<String>) -> impl Iterator<Item = PathBuf> {
    let names = ["RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR"].into_iter();
    names.filter_map(move |name| {
        // systemd separates several folders by colons.
        let first = variable(name)?.split(':').next()?.to_owned();
        first.starts_with('/').then(|| PathBuf::from(first))
    })
}

/// The control sockets in a folder, whether a server listens or not.
pub(crate) fn sockets(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let named = entries.filter(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let middle = name
            .strip_prefix(NAME)
            .and_then(|rest| rest.strip_suffix(SUFFIX));
        middle.is_some_and(|middle| middle.is_empty() || middle.starts_with('-'))
    });
    let mut paths: Vec<_> = named.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

/// The folder of a user for whom the system provides none.
pub(crate) fn own_folder() -> PathBuf {
    format!("/tmp/rwsgi-{}", supervisor::own_uid()).into()
}

/// Whether the folder is a real folder of this user, closed to others: any user could have created it in /tmp.
pub(crate) fn is_own(folder: &Path) -> bool {
    fs::symlink_metadata(folder).is_ok_and(|found| {
        found.is_dir() && found.uid() == supervisor::own_uid() && found.mode() & 0o077 == 0
    })
}

/// Opens the control socket; `None` if it is off, or if the default place does not permit it. The exit code if the
/// given place does not.
pub(crate) fn open_control(config: &Config, takes_over: bool) -> Result<Option<Control>, u8> {
    let identity = config.identity.as_ref();
    let open = if takes_over {
        Control::open_beside
    } else {
        Control::open
    };
    match &config.control {
        ControlPlace::Off => Ok(None),
        ControlPlace::At(path) => match open(path, config.control_group, identity) {
            Ok(control) => Ok(Some(control)),
            Err(problem) => {
                error!(
                    error = log::chain(&problem),
                    "cannot open the control socket"
                );
                Err(if problem.is_in_use() {
                    exit::UNAVAILABLE
                } else {
                    exit::CONFIGURATION
                })
            }
        },
        ControlPlace::Usual => {
            let opened = usual_folder().map_err(|problem| problem.to_string());
            let opened = opened.and_then(|folder| {
                open_in(&folder, config, takes_over).map_err(|problem| log::chain(&problem))
            });
            Ok(opened
                .inspect_err(|problem| {
                    warn!(
                        error = problem,
                        "there is no control socket: --control names a place for it"
                    );
                })
                .ok())
        }
    }
}

/// Several servers may share a folder.
fn open_in(folder: &Path, config: &Config, takes_over: bool) -> Result<Control, BindError> {
    let identity = config.identity.as_ref();
    let group = config.control_group;
    let open = |name: String| Control::open(&folder.join(name), group, identity);
    // The predecessor that has started this server has one of them.
    let predecessor = Some(std::os::unix::process::parent_id());
    let is_predecessors = |path: &PathBuf| supervisor::control::listener_of(path) == predecessor;
    if takes_over && let Some(path) = sockets(folder).into_iter().find(is_predecessors) {
        return Control::open_beside(&path, group, identity);
    }
    match open(format!("{NAME}{SUFFIX}")) {
        Err(problem) if problem.is_in_use() => {
            open(format!("{NAME}-{}{SUFFIX}", std::process::id()))
        }
        opened => opened,
    }
}

/// The folder for the server's control socket.
fn chosen(variable: impl Fn(&str) -> Option<String>, is_root: bool) -> PathBuf {
    let usual = || {
        if is_root {
            PathBuf::from(SYSTEM)
        } else {
            own_folder()
        }
    };
    named(variable).next().unwrap_or_else(usual)
}

/// The folder for the control socket, which is created if necessary.
fn usual_folder() -> io::Result<PathBuf> {
    let own = own_folder();
    let folder = chosen(|name| std::env::var(name).ok(), supervisor::is_root());
    let mode = if folder == own { 0o700 } else { 0o755 };
    if folder == own || folder == Path::new(SYSTEM) {
        match DirBuilder::new().mode(mode).create(&folder) {
            Err(problem) if problem.kind() != io::ErrorKind::AlreadyExists => {
                return Err(io::Error::other(format!("{}: {problem}", folder.display())));
            }
            _ => {}
        }
    }
    if folder == own && !is_own(&folder) {
        return Err(io::Error::other(format!(
            "{} is somebody else's, or open to others",
            folder.display()
        )));
    }
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folders_of_the_environment_come_first() {
        let with = |pairs: &'static [(&str, &str)]| {
            let found = folders(|name| {
                let mut pairs = pairs.iter();
                pairs
                    .find(|(key, _)| *key == name)
                    .map(|(_, value)| (*value).to_owned())
            });
            found.into_iter().take(3).collect::<Vec<_>>()
        };
        let pairs = &[
            ("RUNTIME_DIRECTORY", "/run/a:/run/b"),
            ("XDG_RUNTIME_DIR", "/run/c"),
        ];
        assert_eq!(
            with(pairs),
            ["/run/a", "/run/c", "/run/rwsgi"].map(PathBuf::from)
        );
        assert_eq!(
            with(&[("XDG_RUNTIME_DIR", "relative")])[0],
            Path::new("/run/rwsgi")
        );
    }

    #[test]
    fn the_system_folder_is_used_by_root_or_if_named() {
        let nothing = |_: &str| None;
        let systemd = |name: &str| (name == "RUNTIME_DIRECTORY").then(|| SYSTEM.to_owned());
        assert_eq!(chosen(nothing, true), Path::new(SYSTEM));
        assert_eq!(chosen(nothing, false), own_folder());
        for is_root in [true, false] {
            assert_eq!(chosen(systemd, is_root), Path::new(SYSTEM));
        }
    }

    #[test]
    fn a_folder_in_tmp_is_only_used_when_it_is_ours_alone() {
        let outer = tempfile::tempdir().unwrap();
        let folder = outer.path().join("own");
        assert!(!is_own(&folder));
        DirBuilder::new().mode(0o700).create(&folder).unwrap();
        assert!(is_own(&folder));
        let link = folder.join("link");
        std::os::unix::fs::symlink(&folder, &link).unwrap();
        assert!(!is_own(&link));
        let open = folder.join("open");
        DirBuilder::new().mode(0o755).create(&open).unwrap();
        assert!(!is_own(&open));
    }
}
