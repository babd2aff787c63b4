//! Rows of the table: the access log and the server's log.

use crate::config::configuration::{AccessTarget, LogFormat, LogLevel};
use crate::config::spec::{Kind, Opt, ROW};
use crate::config::values::descriptor;

pub(crate) const ACCESS_LOG: Opt = Opt {
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
        `SIGUSR1`, as after a rotation. `/dev/stdout`, `/dev/stderr` and `/dev/fd/N` are the descriptors \
        themselves, whatever they are. Lines that cannot be written, or for which the disk or a reader is too slow, are \
        lost and counted rather than waited for. Where `--reload` is on and standard error is a terminal, each request \
        has a short line there unless this option is given.",
    given: Some(|config| config.access_log_given = true),
    kind: Kind::Text(|config, text, folder| {
        config.access_log = match text {
            "" => return Err("must be a path, `-` or `off`".to_owned()),
            "off" => None,
            "-" => Some(AccessTarget::Descriptor(1)),
            path => {
                let path = folder.join(path);
                let number = descriptor::named(&path);
                Some(number.map_or(AccessTarget::File(path), AccessTarget::Descriptor))
            }
        };
        Ok(())
    }),
    ..ROW
};

pub(crate) const ACCESS_LOG_FORMAT: Opt = Opt {
    name: "access-log-format",
    elsewhere: &[("Apache", "LogFormat"), ("gunicorn", "access_log_format")],
    value: "FORMAT",
    default: Some("combined"),
    short: "common, combined, json, or the directives of Apache's LogFormat",
    long: "`%h %a %l %u %t %{strftime}t %r %m %U %q %H %s %>s %b %B %T %{s}T %{ms}T %{us}T %D %{Field}i \
        %{Field}o %p %P %%`, as Apache's mod_log_config has them. `%b` and `%B` count the bytes of the body that \
        were sent.",
    kind: Kind::Text(|config, text, _| {
        config.access_log_format =
            front::access_log::Format::parse(text).map_err(|error| error.to_string())?;
        Ok(())
    }),
    ..ROW
};

pub(crate) const LOG_LEVEL: Opt = Opt {
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
};

pub(crate) const LOG_FORMAT: Opt = Opt {
    name: "log-format",
    value: "FORMAT",
    default: Some("text"),
    short: "What lines of the log look like: text or json",
    long: "Lines of text depend on where they go: in systemd's journal they have their severity and leave the time to it; \
        on a terminal they are short, have the local time, and colours unless `NO_COLOR` is set; elsewhere they begin with \
        the time in UTC. `json` writes one object a line, with `time`, `level`, the fields of the line and `message`.",
    kind: Kind::Choice(&[
        ("text", |config| config.log_format = LogFormat::Text),
        ("json", |config| config.log_format = LogFormat::Json),
    ]),
    ..ROW
};
