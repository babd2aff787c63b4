//! Rows of the table: the sources of options, and commands other than serving.

use crate::config::spec::{Kind, Opt, Place, ROW, Switch};

pub(crate) const CONFIG: Opt = Opt {
    name: "config",
    elsewhere: &[("gunicorn", "config"), ("uWSGI", "ini")],
    place: Place::OutsideFile,
    value: "FILE",
    short: "Read options from this file instead of ./rwsgi.toml",
    long: "`rwsgi.toml` in the folder in which the server is started is read when it is there.",
    kind: Kind::Path(|config, path| config.file = Some(path)),
    ..ROW
};

pub(crate) const CHECK: Opt = Opt {
    name: "check",
    elsewhere: &[("Apache", "configtest"), ("gunicorn", "check-config")],
    place: Place::CommandLine,
    short: "Load the application, report, and exit",
    long: "Loads it in a mold, audits what must not be shared, runs the warm-up requests. Exits with 0, or with 78 \
        when the application cannot be loaded or a warm-up fails.",
    kind: Kind::Switch(Switch::Check),
    ..ROW
};

pub(crate) const PRINT_CONFIG: Opt = Opt {
    name: "print-config",
    elsewhere: &[("gunicorn", "print-config")],
    place: Place::CommandLine,
    short: "Print every option with where its value comes from, and exit",
    long: "What is printed is itself a configuration file, in which the defaults are comments.",
    kind: Kind::Switch(Switch::PrintConfig),
    ..ROW
};

pub(crate) const VERSION: Opt = Opt {
    name: "version",
    letter: Some('V'),
    place: Place::CommandLine,
    short: "Print the version and exit",
    kind: Kind::Switch(Switch::Version),
    ..ROW
};

pub(crate) const HELP: Opt = Opt {
    name: "help",
    letter: Some('h'),
    place: Place::CommandLine,
    short: "Print this and exit",
    kind: Kind::Switch(Switch::Help),
    ..ROW
};
