//! Loading the application: what a mold, a child of its own and `--check` do alike.

use std::path::PathBuf;

use supervisor::{Unloadable, exit};
use tracing::{error, info, warn};
use wsgi::{App, LoadError, Python, Spec};

use crate::config::{Config, WarmupFailures};

/// What the application's bridge needs of the options.
pub(crate) fn spec(config: &Config) -> Spec {
    Spec {
        target: config.app.clone(),
        paste_global: config.paste_global.clone(),
        imports: config.import.clone(),
        python_path: config.python_path.clone(),
        env: environment(config),
        script_name: config.script_name.clone(),
        multithread: config.threads > 1,
        multiprocess: config.processes != 1 || config.mpm().is_some(),
    }
}

/// The variables that are set for the application: those that belong to its user, overruled by those that were given.
fn environment(config: &Config) -> Vec<(String, String)> {
    let user = config.identity.as_ref();
    let mut variables = user.map_or_else(Vec::new, supervisor::Identity::variables);
    variables.extend_from_slice(&config.env);
    variables
}

/// Loads the application; says so when it has raised an exception, and gives the traceback back. That there is none is for
/// the caller to tell: several processes may have looked.
pub(crate) fn load(py: Python<'_>, spec: &Spec) -> Result<App, Unloadable> {
    App::load(py, spec).map_err(|problem| match problem {
        LoadError::NotThere(why) => Unloadable {
            why,
            is_final: true,
        },
        LoadError::Raised { summary, traceback } => {
            error!(app = %spec.target, error = summary, "the application cannot be loaded");
            raised(traceback)
        }
    })
}

/// What the application's code has done: it may do better another time.
pub(crate) fn raised(why: String) -> Unloadable {
    let is_final = false;
    Unloadable { why, is_final }
}

/// Has the application warm itself up, then runs the warm-up requests and reports each.
///
/// `decides`: it shows by them whether the application can be served. Once one of its processes has shown that, those that
/// come later serve without: a service that the application needs may be away for a while.
///
/// Returns whether none has failed.
///
/// # Errors
/// Why one has failed, where that is to be decisive.
pub(crate) fn warm_up(
    py: Python<'_>,
    app: &App,
    config: &Config,
    decides: bool,
) -> Result<bool, String> {
    app.call_warmups(py);
    let mut failed = None;
    for warmed in app.warm_up(py, &config.warmup) {
        let (url, status) = (&warmed.url, warmed.status);
        match (warmed.why_not(), status) {
            (Some(why), _) => {
                let reason = why.lines().last().unwrap_or_default();
                warn!(url, status, reason, "the warm-up failed");
                failed.get_or_insert(why);
            }
            (None, Some(200..400)) => info!(url, status, "warmed up"),
            (None, _) => warn!(url, status, "the warm-up was answered with an error"),
        }
    }
    match failed {
        Some(why) if decides && config.warmup_failures == WarmupFailures::Fail => {
            error!("the application cannot be loaded: its warm-up failed");
            Err(why)
        }
        failed => Ok(failed.is_none()),
    }
}

/// Tells the supervisor, in development, which files the application consists of, or has failed to.
pub(crate) fn report_modules(
    py: Python<'_>,
    config: &Config,
    report: impl FnOnce(&[PathBuf]) -> std::io::Result<()>,
) {
    if config.reload {
        // It fails when the supervisor has gone; then so does the next report, which is looked at.
        let _ = report(&wsgi::module_files(py));
    }
}

/// What a process exits with that cannot load the application.
pub(crate) fn exit_code(unloadable: &Unloadable) -> u8 {
    if unloadable.is_final {
        exit::CONFIGURATION
    } else {
        exit::NOT_LOADED
    }
}
