//! From the options to the front's settings of the access log.

use std::io;
use std::sync::Arc;

use front::access_log::{AccessLog, Format, Target};
use supervisor::exit;
use tracing::error;

use crate::config::{AccessTarget, Config, LogLevel};
use crate::log;

/// Checks that the log can be opened; otherwise reports the error and returns the exit code.
pub(crate) fn check(config: &Config) -> Result<(), u8> {
    let Some(given) = &config.access_log else {
        return Ok(());
    };
    let checked = target(given).and_then(|target| target.check());
    checked.map_err(|problem| {
        error!(log = name(given), error = %problem, "cannot open the access log");
        exit::CONFIGURATION
    })
}

/// The log that the front is to write, if any. With `--reload` on a terminal, the default is a short log there.
///
/// # Errors
/// When the descriptor is not open.
pub(crate) fn of(config: &Config) -> io::Result<Option<AccessLog>> {
    let is_wanted = !matches!(config.log_level, LogLevel::Error | LogLevel::Warn);
    let (target, format) = match (&config.access_log, log::terminal()) {
        (Some(given), _) => (target(given)?, config.access_log_format.clone()),
        (None, Some(colours)) if config.reload && !config.access_log_given && is_wanted => {
            let stderr = target(&AccessTarget::Descriptor(2))?;
            (stderr, Format::short(colours))
        }
        (None, _) => return Ok(None),
    };
    Ok(Some(AccessLog { target, format }))
}

/// The descriptors other than standard error that it uses.
pub(crate) fn descriptors(config: &Config) -> Vec<i32> {
    match config.access_log {
        Some(AccessTarget::Descriptor(number)) if number > 2 => vec![number],
        _ => Vec::new(),
    }
}

fn target(given: &AccessTarget) -> io::Result<Target> {
    Ok(match given {
        AccessTarget::File(path) => Target::File(path.clone()),
        AccessTarget::Descriptor(number) => Target::Open {
            name: name(given),
            descriptor: Arc::new(supervisor::copy_of_inherited(*number)?),
        },
    })
}

fn name(given: &AccessTarget) -> String {
    match given {
        AccessTarget::File(path) => path.display().to_string(),
        AccessTarget::Descriptor(1) => "/dev/stdout".to_owned(),
        AccessTarget::Descriptor(2) => "/dev/stderr".to_owned(),
        AccessTarget::Descriptor(number) => format!("/dev/fd/{number}"),
    }
}
