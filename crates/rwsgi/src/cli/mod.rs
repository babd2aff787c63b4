//! The two commands, from their arguments to the exit code.

mod banner;
mod check;
mod ctl;
mod output;
mod serve;

use std::ffi::OsString;
use std::path::Path;

use supervisor::exit;
use tracing::warn;

use crate::config::{self, Command, Config};
use crate::host::invocation::{self, Invocation};
use crate::log;
use crate::python::reexec::{self, Imported};
use crate::python::single_threaded;
use output::{print, report_error, without_descriptors};

/// Runs the command `rwsgi` with these arguments (without the program's name), and returns its exit code. If
/// another environment is chosen, its interpreter is started with the extension module that was `imported`.
pub(crate) fn run(
    arguments: impl IntoIterator<Item = OsString>,
    imported: Option<&Imported>,
) -> u8 {
    if let Err(error) = supervisor::open_standard() {
        return without_descriptors("rwsgi", &error);
    }
    supervisor::title::prepare();
    log::open();
    let code = begin(arguments, imported);
    // Only the original process gets here: forked processes exit elsewhere.
    log::finish();
    code
}

fn begin(arguments: impl IntoIterator<Item = OsString>, imported: Option<&Imported>) -> u8 {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let folder = invocation::folder();
    let start = folder.as_deref().unwrap_or_else(|_| Path::new("/"));
    let command = config::read(arguments.clone(), std::env::vars_os(), start);
    if let (Some(imported), Ok(Command::Serve(config) | Command::Check(config))) =
        (imported, &command)
    {
        if let Some(problem) = reexec::go(config, imported, &arguments) {
            return report_error("rwsgi", exit::CONFIGURATION, &problem.to_string(), &problem);
        }
        single_threaded::become_single_threaded(imported, &arguments);
    }
    match (command, folder) {
        (Ok(Command::Print(text)), _) => print(&text),
        (_, Err(error)) => report_error(
            "rwsgi",
            exit::CANNOT_START,
            "the current folder cannot be found, it may have been removed: start the server in another one",
            &error,
        ),
        (Ok(Command::Check(config)), Ok(folder)) => {
            start_log(&config);
            check::run(*config, &folder)
        }
        (Ok(Command::Serve(config)), Ok(folder)) => {
            start_log(&config);
            serve::run(*config, Invocation::new(arguments, folder))
        }
        (Err(error), Ok(_)) => report_error("rwsgi", error.exit_code(), &error.to_string(), &error),
    }
}

fn start_log(config: &Config) {
    log::start(config.log_level, config.log_format);
    if !config.ignored.is_empty() {
        let variables = config.ignored.join(", ");
        warn!(variables, "no options have these variables: ignored");
    }
}

/// Runs the command `rwsgictl` with these arguments (without the program's name), and returns its exit code.
pub(crate) fn control(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    if let Err(error) = supervisor::open_standard() {
        return without_descriptors("rwsgictl", &error);
    }
    log::open();
    let code = ctl::run(arguments, |name| std::env::var(name).ok());
    log::finish();
    code
}
