//! `--check`: the application is loaded, warmed up and looked over, and what was found is told.

use tracing::error;
use wsgi::Python;

use crate::options::Config;
use crate::{exit, mold, threads};

/// Checks, reports on standard output, and returns the exit code: 0 when the application could be served.
pub(crate) fn run(config: &Config) -> u8 {
    if let Some(folder) = &config.chdir
        && let Err(problem) = std::env::set_current_dir(folder)
    {
        error!(folder = %folder.display(), error = %problem, "cannot change the folder");
        return exit::CONFIGURATION;
    }
    let interpreter = match mold::start_python(config) {
        Ok(interpreter) => interpreter,
        Err(problem) => {
            error!(error = %problem, "no Python");
            return exit::CONFIGURATION;
        }
    };
    threads::warn_of_small_stack(config.stack_size, interpreter.version());
    Python::attach(|py| {
        let Some(app) = mold::load(py, &mold::spec(config)) else {
            return exit::CONFIGURATION;
        };
        mold::warm_up(py, &app, &config.warmup);
        let audit = app.audit(py);
        let mut report = format!(
            "{} can be served by Python {}\n",
            config.app,
            interpreter.about()
        );
        if audit.reasons.is_empty() {
            report.push_str("it can be shared by forked processes\n");
        }
        for reason in &audit.reasons {
            report.push_str(&format!(
                "it cannot be shared by forked processes: {reason}\n"
            ));
        }
        for warning in &audit.warnings {
            report.push_str(&format!("warning: {warning}\n"));
        }
        wsgi::leave(py);
        crate::print(&report)
    })
}
