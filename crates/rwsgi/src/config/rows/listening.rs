//! Rows of the table: where the server listens, and for how many connections.

use supervisor::{Address, AddressError};

use crate::config::spec::{Kind, Opt, ROW, Section, narrow};

pub(crate) const BIND: Opt = Opt {
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
    long: "Port 0 lets the kernel pick one; without a host, every IPv4 address of the machine is meant, with `[::]` \
        every IPv4 and IPv6 address, unless the same port of IPv4 is named as well; `fd://N` is a listening socket that the server inherits. When systemd passes sockets and `--bind` is not given, those \
        are used. The file of a unix socket, whose path has at most 107 bytes, is `--user`'s, and everybody may connect to it; \
        `unix:PATH?mode=0660&group=www-data` says who may. In a folder that this user \
        can change, or below one, it is made with this user's rights; links that the user may have made are refused.",
    given: Some(|config| config.bind_given = true),
    kind: Kind::List(|config, text, folder| {
        let mut address = text
            .parse()
            .map_err(|error: AddressError| error.to_string())?;
        if let Address::Unix(place) = &mut address {
            place.path = folder.join(&place.path);
            if let Some(group) = &place.group {
                let wrong = |problem| format!("has a group that {problem}");
                supervisor::Group::find(group).map_err(wrong)?;
            }
        }
        config.bind.push(address);
        Ok(())
    }),
    ..ROW
};

pub(crate) const BACKLOG: Opt = Opt {
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
};

pub(crate) const MAX_CONNECTIONS: Opt = Opt {
    name: "max-connections",
    elsewhere: &[("gunicorn", "worker_connections")],
    section: Section::Listening,
    value: "N",
    default: Some("10000"),
    short: "Connections open at once",
    long: "Further ones wait in the backlog.",
    kind: Kind::Count(1..=1_000_000, |config, number| {
        config.front.max_connections = narrow(number)
    }),
    ..ROW
};
