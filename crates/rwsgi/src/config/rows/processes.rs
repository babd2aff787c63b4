//! Rows of the table: processes, threads, start and stop.

use std::time::Duration;

use crate::config::spec::{Change, DAY, Kind, Makes, Opt, ROW, Section, TICK, narrow};

pub(crate) const PROCESSES: Opt = Opt {
    name: "processes",
    letter: Some('p'),
    elsewhere: &[
        ("mod_wsgi", "processes"),
        ("gunicorn", "workers"),
        ("uWSGI", "processes"),
    ],
    section: Section::Pool,
    change: Change::WithReload,
    makes: Some(Makes::FixedPool),
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
};

pub(crate) const THREADS: Opt = Opt {
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
        it is 25 when it is not given. `-t` of gunicorn and uWSGI is a time limit: what looks like seconds (30, 60, 90, \
        and all above 64) is refused after the letter, and taken after the name.",
    kind: Kind::Count(1..=255, |config, number| config.threads = narrow(number)),
    ..ROW
};

pub(crate) const STACK_SIZE: Opt = Opt {
    name: "stack-size",
    apache: &["ThreadStackSize"],
    elsewhere: &[("mod_wsgi", "stack-size"), ("uWSGI", "thread-stacksize")],
    section: Section::Pool,
    change: Change::WithReload,
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
};

pub(crate) const STARTUP_TIMEOUT: Opt = Opt {
    name: "startup-timeout",
    elsewhere: &[("mod_wsgi", "startup-timeout")],
    section: Section::Pool,
    change: Change::WithReload,
    value: "TIME",
    default: Some("60s"),
    short: "Time for the application to be loaded and the first child to be ready",
    long: "When it is over before any child was ever ready, the server gives up and exits with 75.",
    kind: Kind::Time(TICK..=DAY, |config, time| config.startup_timeout = time),
    ..ROW
};

pub(crate) const SHUTDOWN_TIMEOUT: Opt = Opt {
    name: "shutdown-timeout",
    elsewhere: &[
        ("mod_wsgi", "shutdown-timeout"),
        ("gunicorn", "graceful_timeout"),
    ],
    section: Section::Pool,
    change: Change::WithReload,
    value: "TIME",
    default: Some("30s"),
    short: "Time for requests in flight to finish when a child retires or the server stops",
    long: "Holds for every child that is to go: when the server stops or is replaced, and when a child is recycled, belongs \
        to an earlier generation or is one too many. What is not finished by then is broken off, and the log names it: \
        the client of a request gets a 502, or the end of its connection where an answer has begun. An answer without \
        an end, like an event stream, is broken off so with each reload.",
    kind: Kind::Time(Duration::ZERO..=DAY, |config, time| {
        config.shutdown_timeout = time
    }),
    ..ROW
};
