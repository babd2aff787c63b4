//! Rows of the table: user, health check, control socket and other properties of the service.

use crate::config::configuration::ControlPlace;
use crate::config::spec::{Kind, Opt, ROW};

pub(crate) const USER: Opt = Opt {
    name: "user",
    apache: &["User"],
    elsewhere: &[("mod_wsgi", "user"), ("gunicorn", "user"), ("uWSGI", "uid")],
    value: "USER",
    short: "The user that the application and the front run as",
    long: "A name or a number. Groups, group and user are set in this order and looked at again; when one cannot be had, \
        nothing is served. The supervisor keeps its own, so that a server started as root listens below port 1024 and \
        still reloads. Unix sockets and the log files that the server makes belong to this user, and `HOME`, `USER` and \
        `LOGNAME` are set, unless `--env` gives them. A number without an entry in the user database needs `--group`.",
    kind: Kind::Text(|config, text, _| {
        config.user = Some(supervisor::User::find(text)?);
        Ok(())
    }),
    ..ROW
};

pub(crate) const GROUP: Opt = Opt {
    name: "group",
    apache: &["Group"],
    elsewhere: &[
        ("mod_wsgi", "group"),
        ("gunicorn", "group"),
        ("uWSGI", "gid"),
    ],
    value: "GROUP",
    short: "The group that the application and the front run as",
    long: "A name or a number, instead of the group that the user database gives to `--user`. The user's other groups are \
        kept.",
    kind: Kind::Text(|config, text, _| {
        config.group = Some(supervisor::Group::find(text)?);
        Ok(())
    }),
    ..ROW
};

pub(crate) const UMASK: Opt = Opt {
    name: "umask",
    elsewhere: &[
        ("mod_wsgi", "umask"),
        ("gunicorn", "umask"),
        ("uWSGI", "umask"),
    ],
    value: "MASK",
    short: "What the files that the server and the application make may not allow, in octal",
    long: "`027` lets the group read and others do nothing. Holds for unix sockets, too. Without it, the mask stays what it \
        was when the server was started.",
    kind: Kind::Text(|config, text, _| {
        let mask = u32::from_str_radix(text, 8)
            .ok()
            .filter(|mask| *mask <= 0o777);
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        config.umask = Some(
            mask.filter(|_| digits)
                .ok_or("must be an octal number from 0 to 777")?,
        );
        Ok(())
    }),
    ..ROW
};

pub(crate) const HEALTH: Opt = Opt {
    name: "health",
    value: "URL|off",
    default: Some("off"),
    short: "Tell at this path whether the server is ready, without Python",
    long: "A path such as `/-/healthz`. The answer is 200 (`ready`) while at least one child takes requests, busy or not, \
        and else 503 with the reason: `starting`, `no child`, or `stopping` from the moment at which the server is told \
        to stop, so that load balancers leave it during `--shutdown-delay`. Below it, `/-/healthz/live` answers 200 \
        (`live`) for as long as connections are answered at all. Both take GET and HEAD, hold no application thread, \
        do not wait in the queue, and leave lines in the access log as any request does. The path is the server's, \
        whatever `--script-name` says; the application does not see its requests.",
    kind: Kind::Text(|config, text, _| {
        config.front.health = match text {
            "off" => None,
            path => Some(front::Health::at(path).map_err(|error| error.to_string())?),
        };
        Ok(())
    }),
    ..ROW
};

pub(crate) const CONTROL: Opt = Opt {
    name: "control",
    elsewhere: &[("gunicorn", "control_socket"), ("uWSGI", "master-fifo")],
    value: "PATH|off",
    short: "The socket at which rwsgictl asks the server",
    long: "Only the user that started the server and root may use it, and the group of `--control-group`: of a server that \
        root has started with `--user`, the application cannot command it. Without the option it is `rwsgi.sock` in the \
        runtime folder, with the supervisor's pid in its name (`rwsgi-71.sock`) when another server has taken that: in \
        `$RUNTIME_DIRECTORY`, which systemd sets; else in `$XDG_RUNTIME_DIR`; else in `/run/rwsgi` for root, and in \
        `/tmp/rwsgi-UID` for others, a folder that nobody else may enter. Where `--user` could put another socket in its \
        place, a warning says so. Where it is not possible, a server without the option warns and does without.",
    kind: Kind::Text(|config, text, folder| {
        config.control = match text {
            "" => return Err("must be a path or `off`".to_owned()),
            "off" => ControlPlace::Off,
            path => ControlPlace::At(folder.join(path)),
        };
        Ok(())
    }),
    ..ROW
};

pub(crate) const CONTROL_GROUP: Opt = Opt {
    name: "control-group",
    value: "GROUP",
    short: "A group that may use rwsgictl, beside the server's own user and root",
    long: "A name or a number. Whoever is in it can stop, reload and scale the server. The application can, too, if the group is \
        one of `--user`'s.",
    kind: Kind::Text(|config, text, _| {
        config.control_group = Some(supervisor::Group::find(text)?);
        Ok(())
    }),
    ..ROW
};

pub(crate) const PID_FILE: Opt = Opt {
    name: "pid-file",
    apache: &["PidFile"],
    elsewhere: &[("gunicorn", "pidfile"), ("uWSGI", "pidfile")],
    value: "PATH",
    short: "Write the supervisor's pid to this file",
    long: "It is removed at the end, unless another server has written its own.",
    kind: Kind::Path(|config, path| config.pid_file = Some(path)),
    ..ROW
};
