//! What the values mean: each within its bounds, put into the configuration.

use std::ops::RangeInclusive;
use std::path::Path;

use pool::Mpm;
use supervisor::{Address, Identity, Place};

use super::configuration::{AccessTarget, Budget, Config, ControlPlace, Policy, Target};
use super::error::{Error, Origin, hint, nearest};
use super::sources::Given;
use super::sources::file::LONGEST;
use super::sources::given::Value;
use super::spec::{Kind, Opt};
use super::table::OPTIONS;
use super::values::{application, descriptor, django, units, variables};
use crate::log;

/// What makes a pool an elastic one.
pub(crate) const ELASTIC: [&str; 7] = [
    "mpm",
    "start-servers",
    "min-spare-servers",
    "max-spare-servers",
    "min-spare-threads",
    "max-spare-threads",
    "max-clients",
];

/// `ThreadsPerChild` as Apache ships it.
const WORKER_THREADS: u16 = 25;

/// The configuration that was given. `app` is only set when one was given: see [`find_app`].
pub(crate) fn configure(given: &Given, start: &Path) -> Result<Config, Error> {
    let mut config = Config::default();
    for row in OPTIONS {
        for value in given.of(row.name) {
            apply(row, value, start, &mut config)?;
        }
    }
    config.bind_given = given
        .of("bind")
        .iter()
        .any(|value| value.origin != Origin::Default);
    for address in &mut config.bind {
        if let Address::Unix(path) = address {
            *path = start.join(&*path);
        }
    }
    if let ControlPlace::At(path) = &mut config.control {
        *path = start.join(&*path);
    }
    config.access_log_given = given
        .of("access-log")
        .iter()
        .any(|value| value.origin != Origin::Default);
    if let Some(AccessTarget::File(path)) = &config.access_log {
        let path = start.join(path);
        let number = descriptor::named(&path);
        config.access_log = Some(number.map_or(AccessTarget::File(path), AccessTarget::Descriptor));
    }
    config.identity = identity(given, &config)?;
    for (name, folder) in [
        ("chdir", &config.chdir),
        ("buffer-dir", &config.front.buffer_dir),
    ] {
        if let (Some(folder), [value]) = (folder, given.of(name))
            && !folder.is_dir()
        {
            return Err(wrong(name, value, "is not a folder"));
        }
    }
    for path in &mut config.touch_reload {
        *path = start.join(&*path);
    }
    check_pool(given, &mut config)?;
    let folder = config.chdir.as_deref().unwrap_or(start);
    for path in &mut config.python_path {
        *path = folder.join(&*path);
    }
    if let [value] = given.of("app") {
        config.app = application::settle(config.app, folder)
            .map_err(|problem| wrong("app", value, &problem))?;
    }
    merge_env(given, &mut config)?;
    Ok(config)
}

/// The application when none was given: that of a Django project in the folder.
pub(crate) fn find_app(
    config: &Config,
    env: &[(String, String)],
    start: &Path,
) -> Result<Target, Error> {
    let folder = config.chdir.as_deref().unwrap_or(start);
    django::project(folder, django::settings_among(&config.env, env))
}

/// The user that the application was started as.
pub(crate) fn user(given: &Given, start: &Path) -> Result<Option<Identity>, Error> {
    let mut config = Config::default();
    for row in OPTIONS
        .iter()
        .filter(|row| ["user", "group"].contains(&row.name))
    {
        for value in given.of(row.name) {
            apply(row, value, start, &mut config)?;
        }
    }
    identity(given, &config)
}

/// Who the application is to run as.
fn identity(given: &Given, config: &Config) -> Result<Option<Identity>, Error> {
    let first = given
        .of("user")
        .first()
        .or_else(|| given.of("group").first());
    Identity::of(config.user.as_ref(), config.group).or_else(|problem| match first {
        Some(value) => Err(wrong("user", value, &log::chain(&problem))),
        None => Ok(None),
    })
}

/// Reads a value as its row says, and puts it into the configuration.
pub(crate) fn apply(
    row: &Opt,
    value: &Value,
    start: &Path,
    config: &mut Config,
) -> Result<(), Error> {
    let text = value.text.as_str();
    let bad = || wrong(row.name, value, &problem(row, text));
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
        Kind::Path(_) if text.is_empty() => {
            return Err(wrong(row.name, value, "must not be empty"));
        }
        Kind::Path(set) => set(config, start.join(text)),
        Kind::Text(set) | Kind::List(set) => {
            set(config, text).map_err(|problem| wrong(row.name, value, &problem))?;
        }
    }
    Ok(())
}

fn within<T: PartialOrd>(value: Option<T>, bounds: &RangeInclusive<T>) -> Option<T> {
    value.filter(|value| bounds.contains(value))
}

/// What a value should have been.
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

fn wrong(option: &'static str, value: &Value, problem: &str) -> Error {
    Error::Value {
        option,
        value: value.text.clone(),
        problem: problem.to_owned(),
        place: value.origin.clone(),
    }
}

/// Sees to it that the options of the pool mean one pool.
fn check_pool(given: &Given, config: &mut Config) -> Result<(), Error> {
    let set = |name: &str| {
        given
            .of(name)
            .last()
            .filter(|value| value.origin != Origin::Default)
    };
    let Some(mpm) = config.mpm() else {
        return Ok(());
    };
    if let Some(value) = set("processes") {
        let elastic = ELASTIC.iter().find(|name| set(name).is_some());
        let elastic = elastic.copied().unwrap_or_default();
        let problem =
            format!("makes a fixed pool, but {elastic} makes an elastic one: leave one out");
        return Err(wrong("processes", value, &problem));
    }
    if mpm == Mpm::Worker && set("threads").is_none() {
        config.threads = WORKER_THREADS;
    }
    if mpm == Mpm::Prefork && config.threads > 1 {
        let value = set("mpm").expect("only when it is given, several threads are prefork's");
        let problem = format!(
            "has one thread in each child, but threads is {}: use worker",
            config.threads
        );
        return Err(wrong("mpm", value, &problem));
    }
    if let (Some(value), Policy::Apache) = (set("memory-budget"), config.pool_policy)
        && config.memory_budget != Budget::Off
    {
        return Err(wrong(
            "memory-budget",
            value,
            "cannot be kept by pool-policy apache: use safe",
        ));
    }
    Ok(())
}

/// Makes `env` hold each variable once: the last one given, and those of the file only where none was given.
fn merge_env(given: &Given, config: &mut Config) -> Result<(), Error> {
    let mut all = Vec::new();
    if let (Some(path), [value]) = (&config.env_file, given.of("env-file")) {
        let text = Place::find_target(path, config.identity.as_ref())
            .and_then(|place| place.read(LONGEST));
        let text = text.map_err(|source| Error::Unreadable {
            option: "env-file",
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
