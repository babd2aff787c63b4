//! rwsgi, a preforking WSGI application server: the roof over its rooms.
//!
//! [`run`] is the whole program. Options are read ([`options`]); then either one thing is printed, or the application
//! is checked (`check`), or it is served (`serve`): listeners are bound, the exchange is made, and this process
//! becomes the supervisor, which leaves its traces in `runtime`. The lives of the processes that it forks begin in `roles`: the front, the mold (`mold`) and
//! the children (`child`). [`control`] is the program that talks to a running server (`ctl`).

#![forbid(unsafe_code)]

mod access_log;
mod alone;
mod announce;
mod check;
mod child;
mod ctl;
mod elsewhere;
mod governor;
mod identity;
mod log;
mod module;
mod mold;
pub mod options;
mod release;
mod roles;
mod runtime;
mod serve;
mod sizing;
mod start;
mod threads;
mod trial;

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;

use elsewhere::Imported;
use options::Command;
use start::Start;
use supervisor::exit;

/// Runs the command `rwsgi` with these arguments (without the program's name), and returns its exit code.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    run_in(arguments, None)
}

/// As [`run`]. Should another environment be chosen, its interpreter is started with the extension module that was imported.
fn run_in(arguments: impl IntoIterator<Item = OsString>, imported: Option<&Imported>) -> u8 {
    if let Err(error) = supervisor::open_standard() {
        return without_descriptors("rwsgi", &error);
    }
    supervisor::title::prepare();
    log::open();
    let code = begin(arguments, imported);
    // Only the process that began gets here: those that are forked end by themselves.
    log::finish();
    code
}

fn begin(arguments: impl IntoIterator<Item = OsString>, imported: Option<&Imported>) -> u8 {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let start = start::folder();
    let folder = start.as_deref().unwrap_or_else(|_| Path::new("/"));
    let command = options::read(arguments.clone(), std::env::vars_os(), folder);
    if let (Some(imported), Ok(Command::Serve(config) | Command::Check(config))) =
        (imported, &command)
    {
        if let Some(problem) = elsewhere::go(config, imported, &arguments) {
            return complain("rwsgi", exit::CONFIGURATION, &problem.to_string(), &problem);
        }
        alone::become_alone(imported, &arguments);
    }
    match (command, start) {
        (Ok(Command::Print(text)), _) => print(&text),
        (_, Err(error)) => complain(
            "rwsgi",
            exit::CANNOT_START,
            "the current folder cannot be found, it may have been removed: start the server in another one",
            &error,
        ),
        (Ok(Command::Check(config)), Ok(start)) => {
            log::start(config.log_level, config.log_format);
            check::run(*config, &start)
        }
        (Ok(Command::Serve(config)), Ok(start)) => {
            log::start(config.log_level, config.log_format);
            serve::run(*config, Start::new(arguments, start))
        }
        (Err(error), Ok(_)) => complain("rwsgi", error.exit_code(), &error.to_string(), &error),
    }
}

/// Runs the command `rwsgictl` with these arguments (without the program's name), and returns its exit code.
pub fn control(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    if let Err(error) = supervisor::open_standard() {
        return without_descriptors("rwsgictl", &error);
    }
    log::open();
    let code = ctl::run(arguments, |name| std::env::var(name).ok());
    log::finish();
    code
}

/// Some of standard input, output and error are closed, and what would be opened next would take their places.
fn without_descriptors(program: &str, error: &std::io::Error) -> u8 {
    let text = format!(
        "{program}: standard input, output or error is closed, and /dev/null cannot be opened instead: {error}\n"
    );
    // Standard error may be the one that is closed.
    let _ = std::io::stderr().write_all(text.as_bytes());
    exit::CANNOT_START
}

/// What was asked for goes to standard output, unless nobody reads it any more.
fn print(text: &str) -> u8 {
    match supervisor::sink::print(text.as_bytes()) {
        Ok(()) => exit::OK,
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => exit::OK,
        Err(error) => complain(
            "rwsgi",
            exit::CANNOT_START,
            "cannot write to standard output",
            &error,
        ),
    }
}

/// One line with the error's causes on standard error.
fn complain(program: &str, code: u8, what: &str, error: &dyn std::error::Error) -> u8 {
    let chain = if what == error.to_string() {
        log::causes(error.source())
    } else {
        log::causes(Some(error))
    };
    log::complain(&format!("{program}: {what}{chain}"));
    code
}
