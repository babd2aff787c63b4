//! The options: one table, and from it what was given, what it means, and every page that explains it.
//!
//! `spec` says what a row is, `rows` has them, and `table` lists all. `sources` reads what was given; `resolve` makes a
//! [`Config`] of it, with what `values` knows of each kind of value; `print` shows the table and the result.
//!
//! Nothing here acts on an option. Besides the arguments, only the configuration file, the environment file and a
//! `manage.py` are read.

mod configuration;
mod error;
pub(crate) mod print;
mod resolve;
mod rows;
mod sources;
mod spec;
mod table;
#[cfg(test)]
mod tests;
mod values;

use std::ffi::OsString;
use std::path::Path;

pub use configuration::{
    AccessTarget, Budget, Config, ControlPlace, Elastic, LogFormat, LogLevel, Policy, Preload,
    Target, WarmupFailures,
};
pub use error::{Error, Origin};

use rows::application::APP;
use sources::{Given, environment};
use spec::Switch;
pub(crate) use values::units::show_size;

/// What is asked for.
#[derive(Debug)]
pub enum Command {
    /// Serve.
    Serve(Box<Config>),
    /// Load the application, report, and exit.
    Check(Box<Config>),
    /// Write this text to standard output, and exit with 0.
    Print(String),
}

/// Reads the options: `args` without the program's name, the whole environment `env`, and `start`, the absolute path
/// of the folder in which the server is started.
///
/// # Errors
/// The first thing that is wrong, with its place; [`Error::exit_code`] is what to exit with.
pub fn read(
    args: impl IntoIterator<Item = OsString>,
    env: impl IntoIterator<Item = (OsString, OsString)>,
    start: &Path,
) -> Result<Command, Error> {
    let env = texts(env)?;
    let given = Given::read(args, &env, start, None)?;
    match given.switch {
        Some(Switch::Help) => return Ok(Command::Print(print::help::page())),
        Some(Switch::Version) => return Ok(Command::Print(print::help::version())),
        Some(Switch::Check | Switch::PrintConfig) | None => {}
    }
    let mut config = Box::new(resolve::configure(&given, start)?);
    config.ignored.clone_from(&given.ignored);
    if given.switch == Some(Switch::PrintConfig) {
        return Ok(Command::Print(print::toml::page(&given)));
    }
    if given.of(&APP).is_empty() {
        config.app = resolve::find_app(&config, &env, start)?;
    }
    Ok(if given.switch == Some(Switch::Check) {
        Command::Check(config)
    } else {
        Command::Serve(config)
    })
}

/// What was typed when the server was started, to compare with what is there later.
#[derive(Debug)]
pub struct Started(Given);

/// The options as they are now.
#[derive(Debug)]
pub struct Again {
    /// What they mean; where only a restart would change something, as it was at the start.
    pub config: Config,
    /// The options that have changed and need a restart.
    pub need_restart: Vec<&'static str>,
}

impl Started {
    /// Remembers what was given. Takes what [`read`] takes, and has found nothing wrong with.
    ///
    /// # Errors
    /// As [`read`].
    pub fn read(
        args: impl IntoIterator<Item = OsString>,
        env: impl IntoIterator<Item = (OsString, OsString)>,
        start: &Path,
    ) -> Result<Self, Error> {
        Given::read(args, &texts(env)?, start, None).map(Self)
    }

    /// Reads everything once more: files have changed.
    ///
    /// # Errors
    /// As [`read`].
    pub fn read_again(
        &self,
        args: impl IntoIterator<Item = OsString>,
        env: impl IntoIterator<Item = (OsString, OsString)>,
        start: &Path,
    ) -> Result<Again, Error> {
        let env = texts(env)?;
        let user = resolve::user(&self.0, start)?;
        let mut given = Given::read(args, &env, start, user.as_ref())?;
        let need_restart = given.keep_what_needs_restart(&self.0);
        let mut config = resolve::configure(&given, start)?;
        if given.of(&APP).is_empty() {
            config.app = resolve::find_app(&config, &env, start)?;
        }
        Ok(Again {
            config,
            need_restart,
        })
    }
}

/// The environment as text. What is not UTF-8 is none of our variables' values, unless its name says so.
fn texts(
    env: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Vec<(String, String)>, Error> {
    let mut texts = Vec::new();
    for (name, value) in env {
        let Ok(name) = name.into_string() else {
            continue;
        };
        match value.into_string() {
            Ok(value) => texts.push((name, value)),
            Err(value) if name.starts_with(environment::PREFIX) => {
                let place = Origin::Environment(name);
                return Err(Error::Malformed {
                    problem: format!("{value:?} is not UTF-8"),
                    place,
                });
            }
            Err(_) => {}
        }
    }
    Ok(texts)
}
