//! The table of options. The command line, the environment, `rwsgi.toml`, `--help`, `--print-config` and the
//! reference page all use it.

use super::error::nearest;
use super::rows::{
    application, elastic, listening, logging, meta, processes, recycling, requests, service,
};
use super::spec::Opt;

/// Every option.
pub(crate) const OPTIONS: &[Opt] = &[
    application::APP,
    application::PASTE,
    application::PASTE_GLOBAL,
    application::PRELOAD,
    application::IMPORT,
    application::WARMUP,
    application::WARMUP_FAILURES,
    application::SCRIPT_NAME,
    application::CHDIR,
    application::PYTHON_PATH,
    application::PYTHON,
    application::ENV,
    application::ENV_FILE,
    processes::PROCESSES,
    processes::THREADS,
    elastic::MPM,
    elastic::START_SERVERS,
    elastic::MIN_SPARE_SERVERS,
    elastic::MAX_SPARE_SERVERS,
    elastic::MIN_SPARE_THREADS,
    elastic::MAX_SPARE_THREADS,
    elastic::MAX_CLIENTS,
    elastic::SERVER_LIMIT,
    elastic::POOL_POLICY,
    elastic::MEMORY_BUDGET,
    processes::STACK_SIZE,
    processes::STARTUP_TIMEOUT,
    processes::SHUTDOWN_TIMEOUT,
    recycling::SHUTDOWN_DELAY,
    recycling::MAX_REQUESTS_PER_CHILD,
    recycling::RESTART_INTERVAL,
    recycling::INACTIVITY_TIMEOUT,
    recycling::MAX_CHILD_MEMORY,
    recycling::TOUCH_RELOAD,
    recycling::RELOAD,
    recycling::RELOAD_INCLUDE,
    listening::BIND,
    listening::BACKLOG,
    listening::MAX_CONNECTIONS,
    requests::HTTP2,
    requests::KEEP_ALIVE,
    requests::HEADER_TIMEOUT,
    requests::BODY_TIMEOUT,
    requests::MIN_RATE,
    requests::SEND_TIMEOUT,
    requests::BUFFER_MEMORY,
    requests::BUFFER_DISK,
    requests::BUFFER_DIR,
    requests::QUEUE_TIMEOUT,
    requests::LIMIT_REQUEST_LINE,
    requests::LIMIT_REQUEST_FIELDS,
    requests::LIMIT_REQUEST_FIELD_SIZE,
    requests::LIMIT_REQUEST_BODY,
    requests::MAX_QUEUE,
    service::USER,
    service::GROUP,
    service::UMASK,
    logging::ACCESS_LOG,
    logging::ACCESS_LOG_FORMAT,
    logging::LOG_LEVEL,
    logging::LOG_FORMAT,
    service::HEALTH,
    service::CONTROL,
    service::CONTROL_GROUP,
    service::PID_FILE,
    meta::CONFIG,
    meta::CHECK,
    meta::PRINT_CONFIG,
    meta::VERSION,
    meta::HELP,
];

/// The option with the name most similar to `typed`, among those that fulfil `may`.
pub(crate) fn nearest_to(typed: &str, may: impl Fn(&Opt) -> bool) -> Option<&'static Opt> {
    let rows = OPTIONS.iter().filter(|row| may(row));
    nearest(
        typed,
        rows.flat_map(|row| {
            let elsewhere = row.elsewhere.iter().map(|(_, name)| *name);
            [row.name]
                .into_iter()
                .chain(row.also.iter().copied())
                .chain(row.apache.iter().copied())
                .chain(elsewhere)
                .map(move |name| (name, row))
        }),
    )
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::super::configuration::Config;
    use super::super::error::Origin;
    use super::super::resolve;
    use super::super::sources::given::Value;
    use super::super::spec::Kind;
    use super::*;

    #[test]
    fn each_row_of_the_table_is_sound() {
        let mut names: Vec<String> = OPTIONS.iter().map(|row| row.name.to_owned()).collect();
        names.extend(
            OPTIONS
                .iter()
                // A directive may be its option's own name in other letter case.
                .flat_map(|row| {
                    let others = row.apache.iter().chain(row.also);
                    others
                        .map(|name| name.to_lowercase())
                        .filter(|name| name != row.name)
                }),
        );
        names.extend(
            OPTIONS
                .iter()
                .filter_map(|row| row.letter)
                .map(String::from),
        );
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(
            names.len(),
            count,
            "a name, directive or letter stands for two options"
        );
        for row in OPTIONS {
            let name = row.name;
            assert!(!row.short.is_empty() && !row.short.ends_with('.'), "{name}");
            assert!(row.long.is_empty() || row.long.ends_with('.'), "{name}");
            assert_eq!(
                row.value.is_empty(),
                matches!(row.kind, Kind::Switch(_) | Kind::Flag(_)),
                "{name}"
            );
            let needs_default = matches!(
                row.kind,
                Kind::Count(..)
                    | Kind::CountOr(..)
                    | Kind::Size(..)
                    | Kind::SizeOr(..)
                    | Kind::Time(..)
                    | Kind::Choice(_)
                    | Kind::Flag(_)
            );
            assert!(
                row.default.is_some() || row.may_be_unset || !needs_default,
                "{name} needs a default"
            );
            assert!(row.default.is_none() || !row.may_be_unset, "{name}");
        }
    }

    /// The values at both bounds of a row are accepted and fit the field; values beyond are refused.
    #[test]
    fn each_row_takes_its_bounds_and_nothing_beyond() {
        let apply = |row: &Opt, text: String| {
            let value = Value {
                text,
                origin: Origin::Default,
            };
            resolve::apply(row, &value, Path::new("/"), &mut Config::default()).is_ok()
        };
        for row in OPTIONS {
            let (low, high, unit) = match &row.kind {
                Kind::Count(bounds, _)
                | Kind::CountOr(bounds, ..)
                | Kind::Size(bounds, _)
                | Kind::SizeOr(bounds, ..) => (*bounds.start(), *bounds.end(), ""),
                Kind::Time(bounds, _) => {
                    let millis = |time: &Duration| u64::try_from(time.as_millis()).unwrap();
                    (millis(bounds.start()), millis(bounds.end()), "ms")
                }
                _ => continue,
            };
            assert!(
                apply(row, format!("{low}{unit}")) && apply(row, format!("{high}{unit}")),
                "{}",
                row.name
            );
            assert!(!apply(row, format!("{}{unit}", high + 1)), "{}", row.name);
            assert!(
                low == 0 || !apply(row, format!("{}{unit}", low - 1)),
                "{}",
                row.name
            );
        }
    }
}
