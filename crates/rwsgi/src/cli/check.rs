//! `--check`: loads, warms up and audits the application, and prints the result.

use std::path::Path;
use std::time::Instant;

use tracing::error;
use wsgi::{HookPoint, Python, Waits};

use crate::config::Config;
use crate::host::identity;
use crate::host::release::Release;
use crate::host::sizing::Sizing;
use crate::process::loading;
use crate::process::trial::Trial;
use crate::python::interpreter::start_python;
use supervisor::exit;

/// Checks the application, prints the result to standard output, and returns the exit code: 0 when it can be
/// served.
pub(crate) fn run(config: Config, start: &Path) -> u8 {
    if let Err(code) = identity::assume(&config) {
        return code;
    }
    let release = Release::find(config, start).inspect_err(|problem| error!("{problem}"));
    let Ok((release, config)) = release.and_then(|release| {
        let config = release.enter()?;
        Ok((release, config))
    }) else {
        return exit::CONFIGURATION;
    };
    let config = &*config;
    let Some(interpreter) = release.at_start(config, || start_python(config)) else {
        return exit::CONFIGURATION;
    };
    Python::attach(|py| {
        wsgi::watch(py);
        let app = match loading::load(py, &loading::spec(config)) {
            Ok(app) => app,
            Err(unloadable) => {
                if unloadable.is_final {
                    error!(app = %config.app, error = unloadable.why, "the application cannot be loaded");
                }
                return exit::CONFIGURATION;
            }
        };
        let began = Instant::now();
        let Ok(warmed) = loading::warm_up(py, &app, config, true) else {
            return exit::CONFIGURATION;
        };
        let took = began.elapsed();
        if app.call_hooks(py, HookPoint::BeforeFork).is_err() {
            return exit::CONFIGURATION;
        }
        let audit = app.audit(py);
        let mut report = format!(
            "{} can be served by Python {}\n",
            config.app,
            interpreter.about()
        );
        // No trial when the audit has already found a problem.
        let trial =
            Trial::of(config, &audit.unknown, warmed, took).filter(|_| audit.reasons.is_empty());
        let tried = trial.map(|trial| (trial.urls.join(", "), trial.run(py, &app)));
        let mut reasons = audit.reasons;
        match tried {
            Some((urls, Ok(()))) => {
                report.push_str(&format!("tried in a forked process: {urls} is answered\n"));
            }
            Some((_, Err(why))) => reasons.push(why),
            None => {}
        }
        if reasons.is_empty() {
            report.push_str("it can be shared by forked processes\n");
        }
        for reason in &reasons {
            report.push_str(&format!(
                "it cannot be shared by forked processes: {reason}\n"
            ));
        }
        if Sizing::of(config).loads_alone(config) {
            report.push_str(
                "one process that is not replaced shares it with none: --preload auto loads it in that process\n",
            );
        }
        for unknown in &audit.unknown {
            report.push_str(&format!("not known to be harmless: {unknown}\n"));
        }
        for note in &audit.notes {
            report.push_str(&format!("harmless or made anew: {note}\n"));
        }
        wsgi::leave(py, Waits::ForThreads);
        super::output::print(&report)
    })
}
