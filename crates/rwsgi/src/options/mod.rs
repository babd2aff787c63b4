//! The options: one table, and from it what was typed, what it means, and every page that explains it.
//!
//! Nothing here acts on an option. Besides the arguments, only the configuration file, the environment file and a
//! `manage.py` are read.

mod app;
mod application;
mod asking;
mod command_line;
mod config;
mod connections;
mod descriptor;
mod elastic;
mod environment;
mod error;
mod file;
mod logging;
mod meaning;
mod opt;
mod processes;
mod quantity;
#[cfg(test)]
mod reference;
mod service;
mod table;
#[cfg(test)]
mod tests;
mod turnover;
mod typed;
mod write;

use std::ffi::OsString;
use std::path::Path;

pub use config::{
    AccessTarget, Budget, Config, ControlPlace, Elastic, LogFormat, LogLevel, Policy, Preload,
    Target, WarmupFailures,
};
pub use error::{Error, Origin};

use opt::Switch;
use typed::Typed;

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
    let typed = Typed::read(args, &env, start, None)?;
    match typed.switch {
        Some(Switch::Help) => return Ok(Command::Print(write::help())),
        Some(Switch::Version) => return Ok(Command::Print(write::version())),
        Some(Switch::Check | Switch::PrintConfig) | None => {}
    }
    let mut config = Box::new(meaning::configure(&typed, start)?);
    if typed.switch == Some(Switch::PrintConfig) {
        return Ok(Command::Print(write::config(&typed)));
    }
    if typed.of("app").is_empty() {
        config.app = meaning::find_app(&config, &env, start)?;
    }
    Ok(if typed.switch == Some(Switch::Check) {
        Command::Check(config)
    } else {
        Command::Serve(config)
    })
}

/// What was typed when the server was started, to compare with what is there later.
#[derive(Debug)]
pub struct Started(Typed);

/// The options as they are now.
#[derive(Debug)]
pub struct Again {
    /// What they mean; where only a restart would change something, as it was at the start.
    pub config: Config,
    /// The options that have changed and need a restart.
    pub need_restart: Vec<&'static str>,
}

impl Started {
    /// Remembers what was typed. Takes what [`read`] takes, and has found nothing wrong with.
    ///
    /// # Errors
    /// As [`read`].
    pub fn read(
        args: impl IntoIterator<Item = OsString>,
        env: impl IntoIterator<Item = (OsString, OsString)>,
        start: &Path,
    ) -> Result<Self, Error> {
        Typed::read(args, &texts(env)?, start, None).map(Self)
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
        let user = meaning::user(&self.0, start)?;
        let mut typed = Typed::read(args, &env, start, user.as_ref())?;
        let need_restart = typed.keep_what_needs_restart(&self.0);
        let mut config = meaning::configure(&typed, start)?;
        if typed.of("app").is_empty() {
            config.app = meaning::find_app(&config, &env, start)?;
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
