//! The user of the application: preparation and checks before anything is started.

use std::path::PathBuf;

use supervisor::{Listener, exit};
use tracing::{error, warn};

use super::access_log;
use crate::config::{AccessTarget, Config};
use crate::log;

/// Prepares files for the user of `--user`, and checks in a process of that user that it can serve; otherwise
/// returns the exit code.
pub(crate) fn prepare(config: &Config, listeners: &[Listener]) -> Result<(), u8> {
    let Some(identity) = &config.identity else {
        if supervisor::is_root() {
            warn!("the application runs as root: --user names another user for it");
        }
        return look(config);
    };
    for listener in listeners {
        if let Err(problem) = listener.give_to(identity) {
            let socket = listener.url();
            error!(socket, error = %problem, "cannot give the socket to the user of --user");
            return Err(exit::CANNOT_START);
        }
    }
    for path in logs(config) {
        // An error is reported where the file is opened.
        let _ = identity.provide_file(&path);
    }
    identity.rehearse(|| look(config).err().unwrap_or(exit::OK))
}

/// The files that the front opens.
pub(crate) fn logs(config: &Config) -> Vec<PathBuf> {
    match &config.access_log {
        Some(AccessTarget::File(path)) => vec![path.clone()],
        Some(AccessTarget::Descriptor(_)) | None => Vec::new(),
    }
}

/// Changes to the user of `--user` permanently; returns the exit code when that fails.
pub(crate) fn assume(config: &Config) -> Result<(), u8> {
    if let Some(mask) = config.umask {
        supervisor::set_umask(mask);
    }
    let Some(identity) = &config.identity else {
        return Ok(());
    };
    identity.assume().map_err(|problem| {
        let problem = log::chain(&problem);
        error!(error = problem, "cannot become the user of --user");
        exit::CANNOT_START
    })
}

/// Opens the files that the serving user must be able to open. The front opens them again; here an error is found
/// before anything is started.
fn look(config: &Config) -> Result<(), u8> {
    access_log::check(config)?;
    if let Some(folder) = &config.chdir
        && let Err(problem) = std::fs::metadata(folder.join("."))
    {
        error!(folder = %folder.display(), error = %problem, "cannot enter the folder");
        return Err(exit::CONFIGURATION);
    }
    Ok(())
}
