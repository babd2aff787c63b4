//! Rows of the table: limits of requests, and buffering.

use std::time::Duration;

use crate::config::spec::{DAY, Kind, Opt, ROW, Section, TICK, narrow};

/// Apache's maximum of header fields, which stands for "no limit" here.
const MOST_FIELDS: u64 = 32_767;

pub(crate) const HTTP2: Opt = Opt {
    name: "http2",
    apache: &["Protocols"],
    elsewhere: &[
        ("mod_wsgi", "http2"),
        ("gunicorn", "http_protocols"),
        ("Granian", "http"),
    ],
    section: Section::Requests,
    value: "auto|on|off",
    default: Some("auto"),
    short: "Serve HTTP/2 beside HTTP/1",
    long: "With `on`, a connection without TLS speaks HTTP/2 if it begins with it (prior knowledge, RFC 9113 section 3.3), \
        and HTTP/1 otherwise. `auto` serves HTTP/2 where client and server agree on it, which takes TLS: without, it is \
        HTTP/1. A connection has at most 100 requests at once; each is a request of its own for the pool.",
    kind: Kind::Choice(&[
        ("auto", |config| config.front.http2 = false),
        ("on", |config| config.front.http2 = true),
        ("off", |config| config.front.http2 = false),
    ]),
    ..ROW
};

pub(crate) const KEEP_ALIVE: Opt = Opt {
    name: "keep-alive",
    apache: &["KeepAliveTimeout"],
    elsewhere: &[("gunicorn", "keepalive"), ("uWSGI", "http-keepalive")],
    section: Section::Requests,
    value: "TIME",
    default: Some("5s"),
    short: "How long a connection may stay idle between two requests",
    long: "An idle connection holds no application thread. 0 closes each connection after its first response.",
    kind: Kind::Time(Duration::ZERO..=DAY, |config, time| {
        config.front.keep_alive = time
    }),
    ..ROW
};

pub(crate) const HEADER_TIMEOUT: Opt = Opt {
    name: "header-timeout",
    elsewhere: &[("Apache", "RequestReadTimeout")],
    section: Section::Requests,
    value: "TIME",
    default: Some("15s"),
    short: "Time for the head of a request to arrive",
    long: "Counted from its first byte; for the first request of a connection, from the start of the connection.",
    kind: Kind::Time(TICK..=DAY, |config, time| {
        config.front.header_timeout = time
    }),
    ..ROW
};

pub(crate) const BODY_TIMEOUT: Opt = Opt {
    name: "body-timeout",
    elsewhere: &[("Apache", "RequestReadTimeout")],
    section: Section::Requests,
    value: "TIME",
    default: Some("60s"),
    short: "Longest pause while the body of a request arrives",
    long: "The client gets 408. No application thread waits for a body.",
    kind: Kind::Time(TICK..=DAY, |config, time| config.front.body_timeout = time),
    ..ROW
};

pub(crate) const MIN_RATE: Opt = Opt {
    name: "min-rate",
    elsewhere: &[("Apache", "RequestReadTimeout MinRate")],
    section: Section::Requests,
    value: "SIZE",
    default: Some("500"),
    short: "Slowest average rate of a body or response, in bytes a second",
    long: "Counted once `--body-timeout` has passed since the body of a request began: a client that drips it without a \
        pause gets 408, too. The same once a response has waited for its client for `--send-timeout`: one that takes less is \
        cut off. 0 allows any rate.",
    kind: Kind::Size(0..=1 << 30, |config, bytes| config.front.min_rate = bytes),
    ..ROW
};

pub(crate) const SEND_TIMEOUT: Opt = Opt {
    name: "send-timeout",
    elsewhere: &[("Apache", "TimeOut"), ("nginx", "send_timeout")],
    section: Section::Requests,
    value: "TIME",
    default: Some("60s"),
    short: "How long a client may take nothing of its response",
    long: "Then the connection is cut off, and a thread that waits for the client goes on.",
    kind: Kind::Time(TICK..=DAY, |config, time| config.front.send_timeout = time),
    ..ROW
};

pub(crate) const BUFFER_MEMORY: Opt = Opt {
    name: "buffer-memory",
    elsewhere: &[("nginx", "proxy_buffers, client_body_buffer_size")],
    section: Section::Requests,
    value: "SIZE",
    default: Some("64M"),
    short: "Memory for bodies, and for responses that wait for their clients",
    long: "For all connections together; 4 KiB of each, and 8 KiB more of a response over HTTP/2, are not counted. With \
        nothing left, what comes goes to a file (`--buffer-disk`), and where that takes no more either, or is slow, a \
        response's thread waits for its client, at the latest when 4 MiB more than this are held. 0 keeps no more in memory \
        than what is not counted.",
    kind: Kind::Size(0..=1 << 40, |config, bytes| {
        config.front.buffer_memory = narrow(bytes)
    }),
    ..ROW
};

pub(crate) const BUFFER_DISK: Opt = Opt {
    name: "buffer-disk",
    elsewhere: &[("nginx", "proxy_max_temp_file_size")],
    section: Section::Requests,
    value: "SIZE",
    default: Some("1G"),
    short: "Disk space for bodies and responses that are too large for memory",
    long: "For all of them together, in files without a name in `--buffer-dir`. A response above 128 KiB goes there as far as \
        its client is slower than the application, whose thread is free as soon as the response is complete. With nothing \
        left, the thread waits for its client, and a request whose body needs a file gets 503. 0 uses no disk.",
    kind: Kind::Size(0..=1 << 50, |config, bytes| {
        config.front.buffer_disk = bytes
    }),
    ..ROW
};

pub(crate) const BUFFER_DIR: Opt = Opt {
    name: "buffer-dir",
    elsewhere: &[("nginx", "proxy_temp_path")],
    section: Section::Requests,
    value: "DIR",
    short: "Folder of these files",
    long: "Without the option, the folder for temporary files (`TMPDIR`, `/tmp`). The user of the front must be able to make \
        files there; a disk is better than a file system in memory.",
    kind: Kind::Folder(|config, path| config.front.buffer_dir = Some(path)),
    ..ROW
};

pub(crate) const QUEUE_TIMEOUT: Opt = Opt {
    name: "queue-timeout",
    elsewhere: &[("mod_wsgi", "queue-timeout")],
    section: Section::Requests,
    value: "TIME",
    default: Some("45s"),
    short: "How long a request waits for an application thread",
    long: "Then it gets 503 with `Retry-After`, and the application never sees it.",
    kind: Kind::Time(TICK..=DAY, |config, time| config.front.queue_timeout = time),
    ..ROW
};

pub(crate) const LIMIT_REQUEST_LINE: Opt = Opt {
    name: "limit-request-line",
    apache: &["LimitRequestLine"],
    elsewhere: &[("gunicorn", "limit_request_line")],
    section: Section::Requests,
    value: "SIZE",
    default: Some("8190"),
    short: "Longest request line",
    long: "Method, target and version; a longer one gets 414.",
    kind: Kind::Size(256..=64 << 10, |config, bytes| {
        config.front.limit_request_line = narrow(bytes)
    }),
    ..ROW
};

pub(crate) const LIMIT_REQUEST_FIELDS: Opt = Opt {
    name: "limit-request-fields",
    apache: &["LimitRequestFields"],
    elsewhere: &[("gunicorn", "limit_request_fields")],
    section: Section::Requests,
    value: "N",
    default: Some("100"),
    short: "Most header fields of a request",
    long: "A request with more gets 431. 0 stands for 32767.",
    kind: Kind::Count(0..=MOST_FIELDS, |config, number| {
        config.front.limit_request_fields = narrow(if number == 0 { MOST_FIELDS } else { number });
    }),
    ..ROW
};

pub(crate) const LIMIT_REQUEST_FIELD_SIZE: Opt = Opt {
    name: "limit-request-field-size",
    apache: &["LimitRequestFieldSize"],
    elsewhere: &[("gunicorn", "limit_request_field_size")],
    section: Section::Requests,
    value: "SIZE",
    default: Some("8190"),
    short: "Longest header field",
    long: "A longer one gets 431.",
    kind: Kind::Size(256..=64 << 10, |config, bytes| {
        config.front.limit_request_field_size = narrow(bytes)
    }),
    ..ROW
};

pub(crate) const LIMIT_REQUEST_BODY: Opt = Opt {
    name: "limit-request-body",
    apache: &["LimitRequestBody"],
    elsewhere: &[("uWSGI", "limit-post")],
    section: Section::Requests,
    value: "SIZE",
    default: Some("1G"),
    short: "Largest body of a request",
    long: "A larger one gets 413. 0 lifts the limit.",
    kind: Kind::Size(0..=1 << 50, |config, bytes| {
        config.front.limit_request_body = if bytes == 0 { u64::MAX } else { bytes };
    }),
    ..ROW
};

pub(crate) const MAX_QUEUE: Opt = Opt {
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
};
