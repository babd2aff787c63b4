//! The one table of options. The command line, the environment, `rwsgi.toml`, `--help`, `--print-config` and the
//! reference page all come from it.

use std::path::PathBuf;
use std::time::Duration;

use super::app;
use super::config::{LogLevel, Preload};
use super::error::nearest;
use super::opt::{Kind, Opt, Place, Section, Switch};
use super::{elastic, service, turnover};

/// What most rows have in common.
pub(super) const ROW: Opt = Opt {
    name: "",
    letter: None,
    also: &[],
    apache: &[],
    elsewhere: &[],
    section: Section::Server,
    place: Place::Everywhere,
    value: "",
    default: None,
    short: "",
    long: "",
    kind: Kind::Choice(&[]),
};

pub(super) const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const TICK: Duration = Duration::from_millis(1);

/// As many header fields as Apache can be told to take; what "no limit" means here.
const MOST_FIELDS: u64 = 32_767;

/// Every option.
pub(super) const OPTIONS: &[Opt] = &[
    Opt {
        name: "app",
        elsewhere: &[
            ("gunicorn", "wsgi_app"),
            ("uWSGI", "module"),
            ("Apache", "WSGIScriptAlias"),
        ],
        section: Section::Application,
        place: Place::Positional,
        value: "APP",
        short: "The application to serve",
        long: "`module:callable`; or `module`, in which `application` is looked for, then `app`; or the path of a \
            `.wsgi` or `.py` file. Without one, in a folder with the `manage.py` of a Django project, the project's \
            `WSGI_APPLICATION` is served. A relative path is taken from `--chdir`.",
        kind: Kind::Text(|config, text| app::parse(text).map(|app| config.app = app)),
        ..ROW
    },
    Opt {
        name: "preload",
        elsewhere: &[("gunicorn", "preload_app")],
        section: Section::Application,
        value: "auto|on|off",
        default: Some("auto"),
        short: "Import the application once, before the children are forked",
        long: "Children then share the memory of what was imported, and start at once. `auto` warns and falls back to \
            `off` when the import left threads or connections, which processes cannot share; `on` only warns. With \
            `off` each child imports for itself.",
        kind: Kind::Choice(&[
            ("auto", |config| config.preload = Preload::Auto),
            ("on", |config| config.preload = Preload::On),
            ("off", |config| config.preload = Preload::Off),
        ]),
        ..ROW
    },
    Opt {
        name: "import",
        elsewhere: &[("mod_wsgi", "WSGIImportScript"), ("uWSGI", "import")],
        section: Section::Application,
        value: "MODULE",
        short: "Also import this module",
        long: "For modules that the application imports only when they are first used: imported early, their memory is \
            shared.",
        kind: Kind::List(|config, text| {
            app::check_dotted(text)?;
            config.import.push(text.to_owned());
            Ok(())
        }),
        ..ROW
    },
    Opt {
        name: "warmup",
        section: Section::Application,
        value: "URL",
        short: "Request this before the first child is forked",
        long: "A path (`/books/`), or a URL when the application looks at the host. The request is answered in the \
            mold, so that what it loads and fills is shared by all children. A response other than 2xx or 3xx is \
            reported. Has no effect with `--preload off`.",
        kind: Kind::List(|config, text| {
            app::check_url(text)?;
            config.warmup.push(text.to_owned());
            Ok(())
        }),
        ..ROW
    },
    Opt {
        name: "script-name",
        elsewhere: &[("Apache", "WSGIScriptAlias"), ("uWSGI", "mount")],
        section: Section::Application,
        value: "PATH",
        default: Some(""),
        short: "Path under which the application is mounted",
        long: "It becomes `SCRIPT_NAME` and is taken off the front of `PATH_INFO`.",
        kind: Kind::Text(|config, text| {
            app::mount_point(text).map(|path| config.script_name = path)
        }),
        ..ROW
    },
    Opt {
        name: "chdir",
        elsewhere: &[("mod_wsgi", "home")],
        section: Section::Python,
        value: "DIR",
        short: "Change to this folder before the application is imported",
        long: "The folder is also the first that Python imports from.",
        kind: Kind::Path(|config, path| config.chdir = Some(path)),
        ..ROW
    },
    Opt {
        name: "python-path",
        elsewhere: &[
            ("gunicorn", "pythonpath"),
            ("uWSGI", "pythonpath"),
            ("Apache", "WSGIPythonPath"),
        ],
        section: Section::Python,
        value: "DIR",
        short: "Also import from this folder",
        long: "Put in front of `sys.path`, in the order given. A relative path is taken from `--chdir`.",
        kind: Kind::List(|config, text| {
            config.python_path.push(PathBuf::from(text));
            Ok(())
        }),
        ..ROW
    },
    Opt {
        name: "python",
        elsewhere: &[
            ("mod_wsgi", "python-home"),
            ("uWSGI", "virtualenv"),
            ("Apache", "WSGIPythonHome"),
        ],
        section: Section::Python,
        value: "PATH",
        short: "The Python interpreter, or the folder of a virtual environment",
        long: "Without it the virtual environment named by `VIRTUAL_ENV` is used, when there is one. It must be of the \
            minor version that the server is linked with.",
        kind: Kind::Path(|config, path| config.python = Some(path)),
        ..ROW
    },
    Opt {
        name: "env",
        elsewhere: &[("gunicorn", "raw_env")],
        section: Section::Python,
        value: "K=V",
        short: "Set a variable in the application's environment",
        long: "It is in `os.environ` before the application is imported. In the file a table (`[env]`) is also \
            taken.",
        kind: Kind::List(|config, text| {
            let pair = app::variable(text)?;
            config.env.push(pair);
            Ok(())
        }),
        ..ROW
    },
    Opt {
        name: "env-file",
        elsewhere: &[("systemd", "EnvironmentFile")],
        section: Section::Python,
        value: "FILE",
        short: "Set the variables that this file lists",
        long: "Lines of `K=V`; empty ones and those that begin with `#` are skipped, `export` in front and one pair of \
            quotes around the value are taken off, nothing is expanded. `--env` overrules the file.",
        kind: Kind::Path(|config, path| config.env_file = Some(path)),
        ..ROW
    },
    Opt {
        name: "processes",
        letter: Some('p'),
        elsewhere: &[
            ("mod_wsgi", "processes"),
            ("gunicorn", "workers"),
            ("uWSGI", "processes"),
        ],
        section: Section::Pool,
        value: "N|auto",
        default: Some("1"),
        short: "Children in the pool: a fixed number, or auto",
        long: "They are started up front and stay; one that dies is replaced. `auto` is two for each core that the control \
            group allows, as far as its memory holds them, like `--memory-budget auto`. Cannot be given together with \
            the options of an elastic pool (`--mpm` and those that follow it).",
        kind: Kind::CountOr(
            1..=512,
            |config, number| config.processes = narrow(number),
            ("auto", |config| config.processes = 0),
        ),
        ..ROW
    },
    Opt {
        name: "threads",
        letter: Some('t'),
        apache: &["ThreadsPerChild"],
        elsewhere: &[
            ("mod_wsgi", "threads"),
            ("gunicorn", "threads"),
            ("uWSGI", "threads"),
        ],
        section: Section::Pool,
        value: "N",
        default: Some("1"),
        short: "Application threads of each child",
        long: "With 1 the application runs on the child's main thread, and `wsgi.multithread` is false. With `--mpm worker` \
            it is 25 when it is not given.",
        kind: Kind::Count(1..=255, |config, number| config.threads = narrow(number)),
        ..ROW
    },
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
    Opt {
        name: "stack-size",
        apache: &["ThreadStackSize"],
        elsewhere: &[("mod_wsgi", "stack-size"), ("uWSGI", "thread-stacksize")],
        section: Section::Pool,
        value: "SIZE",
        default: Some("8M"),
        short: "Stack of each application thread",
        long: "Costs address space, not memory: only what is touched is there. Below what was measured to be safe for \
            the running CPython (2M to 3.11, 3M from 3.12) there is a warning: deep recursion then ends the process, \
            not with a `RecursionError`.",
        kind: Kind::Size(256 << 10..=1 << 30, |config, bytes| {
            config.stack_size = bytes
        }),
        ..ROW
    },
    Opt {
        name: "startup-timeout",
        elsewhere: &[("mod_wsgi", "startup-timeout")],
        section: Section::Pool,
        value: "TIME",
        default: Some("60s"),
        short: "Time for the application to be loaded and the first child to be ready",
        long: "When it is over before any child was ever ready, the server gives up and exits with 78.",
        kind: Kind::Time(TICK..=DAY, |config, time| config.startup_timeout = time),
        ..ROW
    },
    Opt {
        name: "shutdown-timeout",
        elsewhere: &[
            ("mod_wsgi", "shutdown-timeout"),
            ("gunicorn", "graceful_timeout"),
        ],
        section: Section::Pool,
        value: "TIME",
        default: Some("30s"),
        short: "Time for requests in flight to finish when the server stops",
        long: "What is not finished by then is broken off.",
        kind: Kind::Time(Duration::ZERO..=DAY, |config, time| {
            config.shutdown_timeout = time
        }),
        ..ROW
    },
    turnover::SHUTDOWN_DELAY,
    turnover::MAX_REQUESTS_PER_CHILD,
    turnover::RESTART_INTERVAL,
    turnover::INACTIVITY_TIMEOUT,
    turnover::MAX_CHILD_MEMORY,
    turnover::TOUCH_RELOAD,
    turnover::RELOAD,
    Opt {
        name: "bind",
        letter: Some('b'),
        elsewhere: &[
            ("Apache", "Listen"),
            ("gunicorn", "bind"),
            ("uWSGI", "http-socket"),
        ],
        section: Section::Listening,
        value: "ADDR",
        default: Some("127.0.0.1:8000"),
        short: "Listen here: host:port, :port, [::1]:port, unix:PATH or fd://N",
        long: "Port 0 lets the kernel pick one; without a host, every IPv4 address of the machine is meant; `fd://N` is \
            a listening socket that the server inherits. When systemd passes sockets and `--bind` is not given, those \
            are used.",
        kind: Kind::List(|config, text| {
            config.bind.push(
                text.parse()
                    .map_err(|error: supervisor::AddressError| error.to_string())?,
            );
            Ok(())
        }),
        ..ROW
    },
    Opt {
        name: "backlog",
        apache: &["ListenBacklog"],
        elsewhere: &[
            ("mod_wsgi", "listen-backlog"),
            ("gunicorn", "backlog"),
            ("uWSGI", "listen"),
        ],
        section: Section::Listening,
        value: "N",
        default: Some("511"),
        short: "Connections that the kernel holds until they are accepted",
        long: "The kernel cuts it to `net.core.somaxconn`.",
        kind: Kind::Count(1..=65_535, |config, number| config.backlog = narrow(number)),
        ..ROW
    },
    Opt {
        name: "max-connections",
        elsewhere: &[("gunicorn", "worker_connections")],
        section: Section::Listening,
        value: "N",
        default: Some("10000"),
        short: "Connections open at once",
        long: "Further ones wait in the backlog.",
        kind: Kind::Count(1..=1_000_000, |config, number| {
            config.max_connections = narrow(number)
        }),
        ..ROW
    },
    Opt {
        name: "keep-alive",
        apache: &["KeepAliveTimeout"],
        elsewhere: &[("gunicorn", "keepalive"), ("uWSGI", "http-keepalive")],
        section: Section::Requests,
        value: "TIME",
        default: Some("5s"),
        short: "How long a connection may stay idle between two requests",
        long: "An idle connection holds no application thread. 0 closes each connection after its first response.",
        kind: Kind::Time(Duration::ZERO..=DAY, |config, time| {
            config.keep_alive = time
        }),
        ..ROW
    },
    Opt {
        name: "header-timeout",
        elsewhere: &[("Apache", "RequestReadTimeout")],
        section: Section::Requests,
        value: "TIME",
        default: Some("15s"),
        short: "Time for the head of a request to arrive",
        long: "Counted from its first byte; for the first request of a connection, from the start of the connection.",
        kind: Kind::Time(TICK..=DAY, |config, time| config.header_timeout = time),
        ..ROW
    },
    Opt {
        name: "body-timeout",
        elsewhere: &[("Apache", "RequestReadTimeout")],
        section: Section::Requests,
        value: "TIME",
        default: Some("60s"),
        short: "Longest pause while the body of a request arrives",
        long: "The client gets 408. No application thread waits for a body.",
        kind: Kind::Time(TICK..=DAY, |config, time| config.body_timeout = time),
        ..ROW
    },
    Opt {
        name: "min-rate",
        elsewhere: &[("Apache", "RequestReadTimeout MinRate")],
        section: Section::Requests,
        value: "SIZE",
        default: Some("500"),
        short: "Slowest average rate of a request's body, in bytes a second",
        long: "Counted once `--body-timeout` has passed since the body began: a client that drips its body without a \
            pause gets 408, too. 0 allows any rate.",
        kind: Kind::Size(0..=1 << 30, |config, bytes| config.min_rate = bytes),
        ..ROW
    },
    Opt {
        name: "send-timeout",
        elsewhere: &[("Apache", "TimeOut"), ("nginx", "send_timeout")],
        section: Section::Requests,
        value: "TIME",
        default: Some("60s"),
        short: "How long a client may take nothing of its response",
        long: "Then the connection is cut off, and a thread that waits for the client goes on.",
        kind: Kind::Time(TICK..=DAY, |config, time| config.send_timeout = time),
        ..ROW
    },
    Opt {
        name: "queue-timeout",
        elsewhere: &[("mod_wsgi", "queue-timeout")],
        section: Section::Requests,
        value: "TIME",
        default: Some("45s"),
        short: "How long a request waits for an application thread",
        long: "Then it gets 503 with `Retry-After`, and the application never sees it.",
        kind: Kind::Time(TICK..=DAY, |config, time| config.queue_timeout = time),
        ..ROW
    },
    Opt {
        name: "limit-request-line",
        apache: &["LimitRequestLine"],
        elsewhere: &[("gunicorn", "limit_request_line")],
        section: Section::Requests,
        value: "SIZE",
        default: Some("8190"),
        short: "Longest request line",
        long: "Method, target and version; a longer one gets 414.",
        kind: Kind::Size(256..=64 << 10, |config, bytes| {
            config.limit_request_line = narrow(bytes)
        }),
        ..ROW
    },
    Opt {
        name: "limit-request-fields",
        apache: &["LimitRequestFields"],
        elsewhere: &[("gunicorn", "limit_request_fields")],
        section: Section::Requests,
        value: "N",
        default: Some("100"),
        short: "Most header fields of a request",
        long: "A request with more gets 431. 0 stands for 32767.",
        kind: Kind::Count(0..=MOST_FIELDS, |config, number| {
            config.limit_request_fields = narrow(if number == 0 { MOST_FIELDS } else { number });
        }),
        ..ROW
    },
    Opt {
        name: "limit-request-field-size",
        apache: &["LimitRequestFieldSize"],
        elsewhere: &[("gunicorn", "limit_request_field_size")],
        section: Section::Requests,
        value: "SIZE",
        default: Some("8190"),
        short: "Longest header field",
        long: "A longer one gets 431.",
        kind: Kind::Size(256..=64 << 10, |config, bytes| {
            config.limit_request_field_size = narrow(bytes)
        }),
        ..ROW
    },
    Opt {
        name: "limit-request-body",
        apache: &["LimitRequestBody"],
        elsewhere: &[("uWSGI", "limit-post")],
        section: Section::Requests,
        value: "SIZE",
        default: Some("1G"),
        short: "Largest body of a request",
        long: "A larger one gets 413. 0 lifts the limit.",
        kind: Kind::Size(0..=1 << 50, |config, bytes| {
            config.limit_request_body = if bytes == 0 { u64::MAX } else { bytes };
        }),
        ..ROW
    },
    Opt {
        name: "max-queue",
        elsewhere: &[("Granian", "backpressure")],
        section: Section::Requests,
        value: "N",
        default: Some("1024"),
        short: "Most requests that wait for an application thread",
        long: "One more gets 503.",
        kind: Kind::Count(1..=65_535, |config, number| {
            config.max_queue = narrow(number)
        }),
        ..ROW
    },
    service::USER,
    service::GROUP,
    service::UMASK,
    Opt {
        name: "access-log",
        elsewhere: &[
            ("Apache", "CustomLog"),
            ("gunicorn", "accesslog"),
            ("uWSGI", "req-logger"),
        ],
        value: "PATH|-|off",
        default: Some("off"),
        short: "Write a line for each request to this file, or to standard output (-)",
        long: "Whatever becomes of the request: a client that left before its answer began shows as status 499, and a \
            request that the end of the server left unanswered as 503. The file is opened anew when the server gets \
            `SIGUSR1`, as after a rotation. Lines for which the disk is too slow are lost and counted rather than \
            waited for.",
        kind: Kind::Text(|config, text| {
            config.access_log = match text {
                "" => return Err("must be a path, `-` or `off`".to_owned()),
                "off" => None,
                "-" => Some(front::access::Target::Stdout),
                path => Some(front::access::Target::File(PathBuf::from(path))),
            };
            Ok(())
        }),
        ..ROW
    },
    Opt {
        name: "access-log-format",
        elsewhere: &[("Apache", "LogFormat"), ("gunicorn", "access_log_format")],
        value: "FORMAT",
        default: Some("combined"),
        short: "common, combined, json, or the directives of Apache's LogFormat",
        long: "`%h %a %l %u %t %{strftime}t %r %m %U %q %H %s %>s %b %B %T %{s}T %{ms}T %{us}T %D %{Field}i \
            %{Field}o %p %P %%`, as Apache's mod_log_config has them. `%b` and `%B` count the bytes of the body that \
            were sent.",
        kind: Kind::Text(|config, text| {
            config.access_log_format =
                front::access::Format::parse(text).map_err(|error| error.to_string())?;
            Ok(())
        }),
        ..ROW
    },
    Opt {
        name: "log-level",
        apache: &["LogLevel"],
        elsewhere: &[("gunicorn", "loglevel")],
        value: "LEVEL",
        default: Some("info"),
        short: "Least severe level that is logged: error, warn, info, debug or trace",
        long: "The log goes to standard error.",
        kind: Kind::Choice(&[
            ("error", |config| config.log_level = LogLevel::Error),
            ("warn", |config| config.log_level = LogLevel::Warn),
            ("info", |config| config.log_level = LogLevel::Info),
            ("debug", |config| config.log_level = LogLevel::Debug),
            ("trace", |config| config.log_level = LogLevel::Trace),
        ]),
        ..ROW
    },
    service::HEALTH,
    service::CONTROL,
    service::PID_FILE,
    Opt {
        name: "config",
        elsewhere: &[("gunicorn", "config"), ("uWSGI", "ini")],
        place: Place::OutsideFile,
        value: "FILE",
        short: "Read options from this file instead of ./rwsgi.toml",
        long: "`rwsgi.toml` in the folder in which the server is started is read when it is there.",
        kind: Kind::Path(|config, path| config.file = Some(path)),
        ..ROW
    },
    Opt {
        name: "check",
        elsewhere: &[("Apache", "configtest"), ("gunicorn", "check-config")],
        place: Place::CommandLine,
        short: "Load the application, report, and exit",
        long: "Loads it in a mold, audits what must not be shared, runs the warm-up requests. Exits with 0, or with 78 \
            when the application cannot be loaded.",
        kind: Kind::Switch(Switch::Check),
        ..ROW
    },
    Opt {
        name: "print-config",
        elsewhere: &[("gunicorn", "print-config")],
        place: Place::CommandLine,
        short: "Print every option with where its value comes from, and exit",
        long: "What is printed is itself a configuration file, in which the defaults are comments.",
        kind: Kind::Switch(Switch::PrintConfig),
        ..ROW
    },
    Opt {
        name: "version",
        letter: Some('V'),
        place: Place::CommandLine,
        short: "Print the version and exit",
        kind: Kind::Switch(Switch::Version),
        ..ROW
    },
    Opt {
        name: "help",
        letter: Some('h'),
        place: Place::CommandLine,
        short: "Print this and exit",
        kind: Kind::Switch(Switch::Help),
        ..ROW
    },
];

/// A number within the bounds of its row, as the type of its field.
pub(super) fn narrow<T: TryFrom<u64>>(number: u64) -> T
where
    T::Error: std::fmt::Debug,
{
    T::try_from(number).expect("the bounds of a row fit its field")
}

/// The option that `typed` was probably meant to be, among those that may be given in one of these ways.
pub(super) fn nearest_to(typed: &str, may: impl Fn(&Opt) -> bool) -> Option<&'static Opt> {
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

    use super::super::config::Config;
    use super::super::error::Origin;
    use super::super::meaning;
    use super::super::typed::Value;
    use super::*;

    /// Options for which it means something that they are not given.
    fn may_be_unset(name: &str) -> bool {
        meaning::ELASTIC.contains(&name) || name == "server-limit"
    }

    #[test]
    fn each_row_of_the_table_is_sound() {
        let mut names: Vec<String> = OPTIONS.iter().map(|row| row.name.to_owned()).collect();
        names.extend(
            OPTIONS
                .iter()
                // A directive may be its own option's name with a capital letter.
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
            // These have their defaults from each other, or make the pool an elastic one.
            let is_unset_by_itself = may_be_unset(name);
            assert_eq!(
                row.default.is_some(),
                needs_default && !is_unset_by_itself || row.default.is_some() && !needs_default,
                "{name}"
            );
        }
    }

    /// Both bounds of a row are taken, which also shows that they fit the field; what lies beyond is not.
    #[test]
    fn each_row_takes_its_bounds_and_nothing_beyond() {
        let apply = |row: &Opt, text: String| {
            let value = Value {
                text,
                origin: Origin::Default,
            };
            meaning::apply(row, &value, Path::new("/"), &mut Config::blank()).is_ok()
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
