//! Rows of the table: recycling of children, and reloads.

use std::path::Path;
use std::time::Duration;

use crate::config::spec::{Change, DAY, Kind, Opt, ROW, Section};

const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

pub(crate) const MAX_REQUESTS_PER_CHILD: Opt = Opt {
    name: "max-requests-per-child",
    also: &["max-requests"],
    apache: &["MaxRequestsPerChild", "MaxConnectionsPerChild"],
    elsewhere: &[
        ("mod_wsgi", "maximum-requests"),
        ("gunicorn", "max_requests"),
        ("uWSGI", "max-requests"),
    ],
    section: Section::Pool,
    change: Change::WithReload,
    value: "N",
    default: Some("0"),
    short: "Replace a child after so many requests",
    long: "0 stands for never. One child at a time is replaced, and its replacement is ready before it takes no \
        more requests.",
    kind: Kind::Count(0..=1 << 40, |config, number| {
        config.recycling.max_requests = number
    }),
    ..ROW
};

pub(crate) const RESTART_INTERVAL: Opt = Opt {
    name: "restart-interval",
    elsewhere: &[
        ("mod_wsgi", "restart-interval"),
        ("uWSGI", "max-worker-lifetime"),
    ],
    section: Section::Pool,
    change: Change::WithReload,
    value: "TIME",
    default: Some("0"),
    short: "Replace a child after this time",
    long: "0 stands for never. One child at a time is replaced, and its replacement is ready before it takes no \
        more requests.",
    kind: Kind::Time(Duration::ZERO..=YEAR, |config, time| {
        config.recycling.restart_interval = time
    }),
    ..ROW
};

pub(crate) const INACTIVITY_TIMEOUT: Opt = Opt {
    name: "inactivity-timeout",
    elsewhere: &[("mod_wsgi", "inactivity-timeout"), ("uWSGI", "idle")],
    section: Section::Pool,
    change: Change::WithReload,
    value: "TIME",
    default: Some("0"),
    short: "Replace a child that has had requests, and then none for this time",
    long: "0 stands for never. One child at a time is replaced, and its replacement is ready before it takes no \
        more requests.",
    kind: Kind::Time(Duration::ZERO..=YEAR, |config, time| {
        config.recycling.inactivity_timeout = time
    }),
    ..ROW
};

pub(crate) const MAX_CHILD_MEMORY: Opt = Opt {
    name: "max-child-memory",
    elsewhere: &[("uWSGI", "reload-on-uss")],
    section: Section::Pool,
    change: Change::WithReload,
    value: "SIZE",
    default: Some("0"),
    short: "Replace a child with more memory of its own than this",
    long: "What it shares with others does not count. Looked at once a second. 0 stands for never. One child at \
        a time is replaced, and its replacement is ready before it takes no more requests.",
    kind: Kind::Size(0..=1 << 50, |config, bytes| {
        config.recycling.max_memory = bytes
    }),
    ..ROW
};

pub(crate) const TOUCH_RELOAD: Opt = Opt {
    name: "touch-reload",
    elsewhere: &[
        ("uWSGI", "touch-reload"),
        ("mod_wsgi", "WSGIScriptReloading"),
    ],
    section: Section::Pool,
    change: Change::WithReload,
    value: "PATH",
    short: "Reload when this file, or anything in this folder, changes",
    long: "When it is touched, written, replaced, or comes to be there; of a folder, also when something in it or below is \
        removed. As with HUP: a new generation loads the application while the old one serves, and takes over when its \
        first child is ready. Links are followed, and one that is turned anywhere in the path is a change, too: \
        `--touch-reload /srv/site/current` reloads with each deploy. What Python, editors and version control write \
        aside (`__pycache__`, `.git`, swap files) is none. Each folder below takes a watch of `fs.inotify.max_user_watches`; \
        10000 are looked into at most.",
    kind: Kind::List(|config, text, folder| {
        if text.is_empty() {
            return Err("must not be empty".to_owned());
        }
        config.touch_reload.push(folder.join(text));
        Ok(())
    }),
    ..ROW
};

pub(crate) const RELOAD: Opt = Opt {
    name: "reload",
    elsewhere: &[("gunicorn", "reload"), ("uWSGI", "py-autoreload")],
    section: Section::Pool,
    change: Change::WithReload,
    default: Some("off"),
    short: "Reload when a module of the application changes",
    long: "For development. Watches the files of all modules that have been imported, by the application when it is loaded \
        or later by a view. When it cannot be loaded, the server waits until one of the files changes that have to do with \
        it, also at its start; a module that is missing is loaded when it has been written. Changes close together are one.",
    kind: Kind::Flag(|config, given| config.reload = given),
    ..ROW
};

pub(crate) const RELOAD_INCLUDE: Opt = Opt {
    name: "reload-include",
    elsewhere: &[
        ("gunicorn", "reload_extra_file"),
        ("uvicorn", "reload-include"),
    ],
    section: Section::Pool,
    change: Change::WithReload,
    value: "PATTERN",
    short: "With --reload, reload also when one of these files changes",
    long: "A path, or a pattern of a shell such as `*.env` or `templates/**/*.html`, taken from the application's folder \
        (`--chdir`). `*` stays within a folder, `**` stands for any number of folders. Folders whose names begin with a \
        dot, `node_modules` and virtual environments are not looked into unless a pattern names them. A path that is a \
        folder stands for everything in it. Without `--reload` it has no effect.",
    kind: Kind::List(|config, text, _| {
        supervisor::Include::matching(Path::new("/"), text)?;
        config.reload_include.push(text.to_owned());
        Ok(())
    }),
    ..ROW
};

pub(crate) const SHUTDOWN_DELAY: Opt = Opt {
    name: "shutdown-delay",
    section: Section::Pool,
    change: Change::WithReload,
    value: "TIME",
    default: Some("0"),
    short: "How long to serve on after TERM, before the server drains",
    long: "Each answer is then the last of its connection, and the readiness that `--health` tells is 503. For load \
        balancers that need some time until they send no more requests.",
    kind: Kind::Time(Duration::ZERO..=DAY, |config, time| {
        config.shutdown_delay = time
    }),
    ..ROW
};
