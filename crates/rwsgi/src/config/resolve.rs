//! Resolves the given values: checks bounds, and puts them into the configuration.

use std::ops::RangeInclusive;
use std::path::Path;

use pool::Mpm;
use supervisor::{Identity, Place};

use super::configuration::{Budget, Config, Policy, Target};
use super::error::{Error, Origin, hint, nearest};
use super::rows::application::ENV_FILE;
use super::rows::elastic::{MEMORY_BUDGET, MPM, POOL_POLICY};
use super::rows::processes::THREADS;
use super::rows::service::{GROUP, USER};
use super::sources::Given;
use super::sources::file::LONGEST;
use super::sources::given::Value;
use super::spec::{Kind, Makes, Opt, RelativeTo};
use super::table::OPTIONS;
use super::values::{django, units, variables};
use crate::log;

/// `ThreadsPerChild` as Apache ships it.
const WORKER_THREADS: u16 = 25;

/// The configuration from the given values. `app` is set only if it was given: see [`find_app`].
pub(crate) fn configure(given: &Given, start: &Path) -> Result<Config, Error> {
    let mut config = Config::default();
    apply_all(given, RelativeTo::Start, start, &mut config)?;
    config.identity = identity(given, &config)?;
    check_pool(given, &mut config)?;
    let folder = config.chdir.clone();
    let folder = folder.as_deref().unwrap_or(start);
    apply_all(given, RelativeTo::Application, folder, &mut config)?;
    merge_env(given, &mut config)?;
    Ok(config)
}

/// Applies the options whose relative paths refer to this folder.
fn apply_all(
    given: &Given,
    relative_to: RelativeTo,
    folder: &Path,
    config: &mut Config,
) -> Result<(), Error> {
    for row in OPTIONS.iter().filter(|row| row.relative_to == relative_to) {
        for value in given.of(row) {
            apply(row, value, folder, config)?;
        }
        if let (Some(set), Some(_)) = (row.given, given.given(row)) {
            set(config);
        }
    }
    Ok(())
}

/// The application when none was given: the Django project in the folder.
pub(crate) fn find_app(
    config: &Config,
    env: &[(String, String)],
    start: &Path,
) -> Result<Target, Error> {
    let folder = config.chdir.as_deref().unwrap_or(start);
    django::project(folder, django::settings_among(&config.env, env))
}

/// The user with which the application was started.
pub(crate) fn user(given: &Given, start: &Path) -> Result<Option<Identity>, Error> {
    let mut config = Config::default();
    for row in [&USER, &GROUP] {
        for value in given.of(row) {
            apply(row, value, start, &mut config)?;
        }
    }
    identity(given, &config)
}

/// The user of the application.
fn identity(given: &Given, config: &Config) -> Result<Option<Identity>, Error> {
    let first = given.of(&USER).first().or_else(|| given.of(&GROUP).first());
    Identity::of(config.user.as_ref(), config.group).or_else(|problem| match first {
        Some(value) => Err(wrong(&USER, value, &log::chain(&problem))),
        None => Ok(None),
    })
}

/// Parses a value according to its row, and puts it into the configuration. Relative paths refer to `folder`.
pub(crate) fn apply(
    row: &Opt,
    value: &Value,
    folder: &Path,
    config: &mut Config,
) -> Result<(), Error> {
    let text = value.text.as_str();
    let bad = || wrong(row, value, &problem(row, text));
    match &row.kind {
        Kind::Switch(_) => {}
        Kind::Count(bounds, set) => {
            set(config, within(units::number(text), bounds).ok_or_else(bad)?)
        }
        Kind::Size(bounds, set) => set(config, within(units::size(text), bounds).ok_or_else(bad)?),
        Kind::Time(bounds, set) => set(config, within(units::time(text), bounds).ok_or_else(bad)?),
        Kind::CountOr(bounds, set, (word, set_word)) => {
            if text == *word {
                set_word(config);
            } else {
                set(config, within(units::number(text), bounds).ok_or_else(bad)?);
            }
        }
        Kind::SizeOr(bounds, set, words) => {
            if let Some((_, set_word)) = words.iter().find(|(word, _)| *word == text) {
                set_word(config);
            } else {
                set(config, within(units::size(text), bounds).ok_or_else(bad)?);
            }
        }
        Kind::Flag(set) => match text {
            "on" => set(config, true),
            "off" => set(config, false),
            _ => return Err(bad()),
        },
        Kind::Choice(choices) => {
            let (_, set) = choices
                .iter()
                .find(|(name, _)| *name == text)
                .ok_or_else(bad)?;
            set(config);
        }
        Kind::Path(_) | Kind::Folder(_) if text.is_empty() => {
            return Err(wrong(row, value, "must not be empty"));
        }
        Kind::Path(set) => set(config, folder.join(text)),
        Kind::Folder(set) => {
            let path = folder.join(text);
            if !path.is_dir() {
                return Err(wrong(row, value, "is not a folder"));
            }
            set(config, path);
        }
        Kind::Text(set) | Kind::List(set) | Kind::Pairs(set) => {
            set(config, text, folder).map_err(|problem| wrong(row, value, &problem))?;
        }
    }
    Ok(())
}

fn within<T: PartialOrd>(value: Option<T>, bounds: &RangeInclusive<T>) -> Option<T> {
    value.filter(|value| bounds.contains(value))
}

/// The description of valid values.
fn problem(row: &Opt, text: &str) -> String {
    let must = format!("must be {}", row.kind.takes().unwrap_or_default());
    match &row.kind {
        Kind::Choice(choices) => {
            must + &hint(nearest(
                text,
                choices.iter().map(|(name, _)| (*name, *name)),
            ))
        }
        _ => must,
    }
}

fn wrong(row: &Opt, value: &Value, problem: &str) -> Error {
    Error::Value {
        option: row.name,
        value: value.text.clone(),
        problem: problem.to_owned(),
        place: value.origin.clone(),
    }
}

/// Checks that the options of the pool are consistent.
fn check_pool(given: &Given, config: &mut Config) -> Result<(), Error> {
    let making = |pool| {
        let mut rows = OPTIONS.iter().filter(move |row| row.makes == Some(pool));
        rows.find_map(|row| Some((row, given.given(row)?)))
    };
    if let (Some((fixed, value)), Some((elastic, _))) =
        (making(Makes::FixedPool), making(Makes::ElasticPool))
    {
        let problem = format!(
            "makes a fixed pool, but {} makes an elastic one: leave one out",
            elastic.name
        );
        return Err(wrong(fixed, value, &problem));
    }
    let Some(mpm) = config.mpm() else {
        return Ok(());
    };
    if mpm == Mpm::Worker && given.given(&THREADS).is_none() {
        config.threads = WORKER_THREADS;
    }
    if let (Some(value), Mpm::Prefork, 2..) = (given.given(&MPM), mpm, config.threads) {
        let problem = format!(
            "has one thread in each child, but {} is {}: use worker",
            THREADS.name, config.threads
        );
        return Err(wrong(&MPM, value, &problem));
    }
    if let (Some(value), Policy::Apache) = (given.given(&MEMORY_BUDGET), config.pool_policy)
        && config.memory_budget != Budget::Off
    {
        let problem = format!("cannot be kept by {} apache: use safe", POOL_POLICY.name);
        return Err(wrong(&MEMORY_BUDGET, value, &problem));
    }
    Ok(())
}

/// Makes `env` contain each variable once: the last one given, and those of the file only where none was given.
fn merge_env(given: &Given, config: &mut Config) -> Result<(), Error> {
    let mut all = Vec::new();
    if let (Some(path), [value]) = (&config.env_file, given.of(&ENV_FILE)) {
        let text = Place::find_target(path, config.identity.as_ref())
            .and_then(|place| place.read(LONGEST));
        let text = text.map_err(|source| Error::Unreadable {
            option: ENV_FILE.name,
            path: value.text.clone().into(),
            place: value.origin.clone(),
            source,
        })?;
        all = variables::variables(&text).map_err(|(line, problem)| Error::Malformed {
            problem,
            place: Origin::File {
                path: value.text.clone().into(),
                line,
            },
        })?;
    }
    all.append(&mut config.env);
    for (name, value) in all {
        match config.env.iter_mut().find(|(other, _)| *other == name) {
            Some((_, old)) => *old = value,
            None => config.env.push((name, value)),
        }
    }
    Ok(())
}
