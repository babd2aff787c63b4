//! Rows of the table: elastic pools, in Apache's terms.

use pool::Mpm;

use crate::config::configuration::{Budget, Policy};
use crate::config::spec::{Change, Kind, Makes, Opt, ROW, Section, narrow};

/// A limit far above any sensible value. Like Apache, the server corrects and logs inconsistent values instead of
/// refusing them, so that a configuration that works in Apache works here.
const MOST: u64 = 1 << 20;

/// A number of children or of threads.
const NUMBER: Opt = Opt {
    section: Section::Pool,
    change: Change::WithReload,
    makes: Some(Makes::ElasticPool),
    may_be_unset: true,
    value: "N",
    ..ROW
};

/// A number of idle threads.
const SPARE: Opt = Opt {
    long: "Counts application threads; with one thread in each child these are the children. The two names mean \
        the same: that of Apache's prefork, and that of its worker.",
    ..NUMBER
};

pub(crate) const MPM: Opt = Opt {
    name: "mpm",
    elsewhere: &[("Apache", "MPM")],
    section: Section::Pool,
    makes: Some(Makes::ElasticPool),
    may_be_unset: true,
    value: "prefork|worker",
    short: "Keep a pool as Apache's prefork or worker does, with its defaults",
    long: "An elastic pool: it grows when too few application threads are idle, and shrinks when too many are. \
        Defaults are those that Apache 2.4 ships: prefork starts 5 children, keeps 5 to 10 idle and has at most \
        250; worker starts 3 of 25 threads each, keeps 75 to 250 threads idle and has at most 400. Without this \
        option, any of the next six makes the pool an elastic one, too: prefork with `--threads 1`, worker with \
        more. What cannot hold is corrected as Apache does it, and logged.",
    kind: Kind::Choice(&[
        ("prefork", |config| config.elastic.mpm = Some(Mpm::Prefork)),
        ("worker", |config| config.elastic.mpm = Some(Mpm::Worker)),
    ]),
    ..ROW
};

pub(crate) const START_SERVERS: Opt = Opt {
    name: "start-servers",
    apache: &["StartServers"],
    elsewhere: &[("uWSGI", "cheaper-initial")],
    short: "Children of an elastic pool that are started at once",
    kind: Kind::Count(0..=MOST, |config, number| {
        config.elastic.start_servers = Some(narrow(number))
    }),
    ..NUMBER
};

pub(crate) const MIN_SPARE_SERVERS: Opt = Opt {
    name: "min-spare-servers",
    apache: &["MinSpareServers"],
    elsewhere: &[("uWSGI", "cheaper")],
    short: "Fewest idle threads of an elastic pool: with fewer, it grows",
    kind: Kind::Count(0..=MOST, |config, number| {
        config.elastic.min_spare_servers = Some(narrow(number))
    }),
    ..SPARE
};

pub(crate) const MAX_SPARE_SERVERS: Opt = Opt {
    name: "max-spare-servers",
    apache: &["MaxSpareServers"],
    short: "Most idle threads of an elastic pool: with more, it shrinks",
    kind: Kind::Count(0..=MOST, |config, number| {
        config.elastic.max_spare_servers = Some(narrow(number))
    }),
    ..SPARE
};

pub(crate) const MIN_SPARE_THREADS: Opt = Opt {
    name: "min-spare-threads",
    apache: &["MinSpareThreads"],
    short: "The same as --min-spare-servers",
    kind: Kind::Count(0..=MOST, |config, number| {
        config.elastic.min_spare_threads = Some(narrow(number))
    }),
    ..SPARE
};

pub(crate) const MAX_SPARE_THREADS: Opt = Opt {
    name: "max-spare-threads",
    apache: &["MaxSpareThreads"],
    short: "The same as --max-spare-servers",
    kind: Kind::Count(0..=MOST, |config, number| {
        config.elastic.max_spare_threads = Some(narrow(number))
    }),
    ..SPARE
};

pub(crate) const MAX_CLIENTS: Opt = Opt {
    name: "max-clients",
    also: &["max-request-workers"],
    apache: &["MaxRequestWorkers", "MaxClients"],
    elsewhere: &[("uWSGI", "workers")],
    short: "Most requests that an elastic pool runs at once",
    long: "Counts application threads, of all children together; rounded down to whole children.",
    kind: Kind::Count(0..=MOST, |config, number| {
        config.elastic.max_clients = Some(narrow(number))
    }),
    ..NUMBER
};

pub(crate) const SERVER_LIMIT: Opt = Opt {
    name: "server-limit",
    apache: &["ServerLimit"],
    short: "Most children that there can be without a restart",
    long: "By default 256 with prefork, 16 with worker, and of a fixed pool twice its size, at least four more. \
        Memory is reserved for as many, but not used.",
    change: Change::AfterRestart,
    makes: None,
    kind: Kind::Count(0..=MOST, |config, number| {
        config.elastic.server_limit = Some(narrow(number))
    }),
    ..NUMBER
};

pub(crate) const POOL_POLICY: Opt = Opt {
    name: "pool-policy",
    section: Section::Pool,
    change: Change::WithReload,
    value: "safe|apache",
    default: Some("safe"),
    short: "How an elastic pool grows: without a snowball, or to Apache's letter",
    long: "`apache` starts 1, 2, 4, … 32 children a second as long as too few threads are idle, those that start \
        included, and lets one go a second. After a reload it owes the new generation `StartServers` children, starts \
        them a second later, and then one a second ten times before it doubles again; only, where Apache tells all \
        children of the former generation to go at once, they serve until those are there, and then go one after \
        the other, each when the pool is complete without it. \
        `safe` starts no more than are lacking, also when requests wait too long, and at a time no more than \
        there are cores: of these, half or what those who serve leave, whichever is more. It lets idle ones go after \
        half a minute.",
    kind: Kind::Choice(&[
        ("safe", |config| config.pool_policy = Policy::Safe),
        ("apache", |config| config.pool_policy = Policy::Apache),
    ]),
    ..ROW
};

pub(crate) const MEMORY_BUDGET: Opt = Opt {
    name: "memory-budget",
    elsewhere: &[("uWSGI", "cheaper-rss-limit-soft")],
    section: Section::Pool,
    change: Change::WithReload,
    value: "SIZE|auto|off",
    default: Some("off"),
    short: "Memory that the server may use: the pool does not grow past it",
    long: "What all processes share is counted once, and for each child the most that any has come to of its \
        own, measured while they run. One child always fits in. `auto` is the limit of the control group, or \
        else the memory of the machine, less a tenth of it. Not with `--pool-policy apache`.",
    kind: Kind::SizeOr(
        1 << 20..=1 << 50,
        |config, bytes| config.memory_budget = Budget::Bytes(bytes),
        &[
            ("auto", |config| config.memory_budget = Budget::Auto),
            ("off", |config| config.memory_budget = Budget::Off),
        ],
    ),
    ..ROW
};
