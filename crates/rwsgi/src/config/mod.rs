//! The options: one table, from which they are parsed, resolved and documented.
//!
//! `spec` defines a row, `rows` contains the rows, and `table` lists all of them. `sources` reads the given values;
//! `resolve` makes a [`Config`] of them, with the parsers in `values`; `print` formats the table and the result.
//!
//! Nothing here acts on an option. Only the configuration file, the environment file and a `manage.py` are read.

mod configuration;
mod elsewhere;
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

use sources::{Given, environment};
use spec::Switch;
pub(crate) use values::units::show_size;

/// The parsed command.
#[derive(Debug)]
pub enum Command {
    /// Serve.
    Serve(Box<Config>),
    /// Load the application, report, and exit.
    Check(Box<Config>),
    /// Write this text to standard output, and exit with 0.
    Print(String),
}

/// Reads the options: `args` without the program's name, the whole environment `env`, and `start`, the absolute
/// path of the folder in which the server is started.
///
/// # Errors
/// The first error, with its place; [`Error::exit_code`] is the exit code.
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
    if !given.names_app() {
        config.app = resolve::find_app(&config, &env, start)?;
    }
    Ok(if given.switch == Some(Switch::Check) {
        Command::Check(config)
    } else {
        Command::Serve(config)
    })
}

/// The options as given at the start, for comparison with later ones.
#[derive(Debug)]
pub struct Started(Given);

/// The options, read again.
#[derive(Debug)]
pub struct Again {
    /// The current configuration; options that need a restart have their values from the start.
    pub config: Config,
    /// The options that have changed and need a restart.
    pub need_restart: Vec<&'static str>,
}

impl Started {
    /// Records the given options. Takes the arguments of [`read`], which must have succeeded with them.
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

    /// Reads all sources again, because files have changed.
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
        if !given.names_app() {
            config.app = resolve::find_app(&config, &env, start)?;
        }
        Ok(Again {
            config,
            need_restart,
        })
    }
}

/// The environment as text. Variables that are not UTF-8 are left out; for one of the server's own this is an error.
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
