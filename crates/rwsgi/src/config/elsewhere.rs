//! Options of gunicorn, uWSGI and mod_wsgi-express that are typed out of habit: each is answered with ours, or with why there
//! is none.
//!
//! A row of the table names what it is called elsewhere; here is what no row can name: other spellings, letters, and options that
//! have no equal.

use super::error::hint;
use super::spec::{Opt, Place};
use super::table::{OPTIONS, nearest_to};

/// What stands for an option of another server.
#[derive(Clone, Copy, Debug)]
enum Answer {
    /// The option of this name, with what else is to be said of it.
    Ours(&'static str, &'static str),
    /// There is none, for this reason.
    No(&'static str),
}
use Answer::{No, Ours};

const GUNICORN: &str = "gunicorn";
const UWSGI: &str = "uWSGI";
const MOD_WSGI: &str = "mod_wsgi";

const NO_TIMEOUT: &str = "a request may run as long as it needs and holds up no other; queue-timeout bounds how long one \
    waits for a thread";
const NO_WORKER_CLASS: &str = "there is one kind of process; threads that wait run beside each other, so threads is what async \
    workers are for";
const NO_DAEMON: &str = "a service manager runs it; in a shell, nohup and & do";
const NO_LOG_FILE: &str = "its log goes to standard error: redirect it, as by 2>>FILE";
const NO_LOG_CONFIG: &str = "the application sets up Python's logging, and log-format and log-level are for the server's log";
const NO_SYSLOG: &str = "its log goes to standard error, which systemd or logger takes to syslog";
const NO_STATS: &str = "rwsgictl status tells how the server is, with --json for programs";
const NO_TLS: &str = "a proxy in front of it, as nginx, Apache or HAProxy, is for TLS";
const NO_STATIC: &str =
    "a proxy in front of it, or middleware of the application as WhiteNoise, serves static files";
const NO_PROXIES: &str =
    "what proxies say of a client is the application's to read, as by werkzeug's ProxyFix";
const NO_HEADS: &str = "heads are read strictly, and what is ambiguous is refused";
const ALWAYS: &str = "it always does so";

/// Program, its names of the option, and the answer.
#[rustfmt::skip]
const ELSEWHERE: &[(&str, &[&str], Answer)] = &[
    (GUNICORN, &["preload"], Ours("preload", "")),
    (GUNICORN, &["timeout"], No(NO_TIMEOUT)),
    (GUNICORN, &["worker-class"], No(NO_WORKER_CLASS)),
    (GUNICORN, &["max-requests-jitter"], No("its processes are never replaced at the same time")),
    (GUNICORN, &["pid"], Ours("pid-file", "")),
    (GUNICORN, &["name", "proc-name"], No("titles say what a process does: rwsgi: child 0 gen 1 (APP)")),
    (GUNICORN, &["daemon"], No(NO_DAEMON)),
    (GUNICORN, &["access-logfile"], Ours("access-log", "")),
    (GUNICORN, &["access-logformat"], Ours("access-log-format", "")),
    (GUNICORN, &["error-logfile", "errorlog", "log-file"], No(NO_LOG_FILE)),
    (GUNICORN, &["capture-output", "enable-stdio-inheritance"], No("what the application prints is left as it is")),
    (GUNICORN, &["log-config", "logconfig", "log-config-json", "logger-class"], No(NO_LOG_CONFIG)),
    (GUNICORN, &["log-syslog", "log-syslog-to", "log-syslog-prefix", "log-syslog-facility"], No(NO_SYSLOG)),
    (GUNICORN, &["statsd-host", "statsd-prefix", "dogstatsd-tags"], No(NO_STATS)),
    (GUNICORN, &["reload-engine"], No("it hears of changed files by inotify")),
    (GUNICORN, &["reload-extra-files"], Ours("reload-include", "")),
    (GUNICORN, &["reuse-port"], No("one process has all listeners, and requests go to whichever thread is idle")),
    (GUNICORN, &["no-sendfile", "sendfile"], No("files of wsgi.file_wrapper are always sent by the kernel")),
    (GUNICORN, &["worker-tmp-dir"], No("its processes need no file to be seen alive")),
    (GUNICORN, &["tmp-upload-dir"], Ours("buffer-dir", "")),
    (GUNICORN, &["initgroups"], No("with user, the groups of that user are always taken")),
    (GUNICORN, &["forwarded-allow-ips", "secure-scheme-headers", "forwarder-headers", "proxy-allow-from"], No(NO_PROXIES)),
    (GUNICORN, &["proxy-protocol"], No("the PROXY protocol is not spoken")),
    (GUNICORN, &["keyfile", "certfile", "ca-certs", "ciphers", "ssl-version", "cert-reqs"], No(NO_TLS)),
    (GUNICORN, &["http2-cleartext"], Ours("http2", " on")),
    (GUNICORN, &["permit-obsolete-folding", "strip-header-spaces", "permit-unconventional-http-method", "header-map",
        "permit-unconventional-http-version", "casefold-http-method"],
        No(NO_HEADS)),
    (GUNICORN, &["root-path"], Ours("script-name", "")),
    (GUNICORN, &["no-control-socket", "control-socket-disable"], Ours("control", " off")),
    (GUNICORN, &["spew"], No("a debugger or sys.settrace in the application does that")),
    (UWSGI, &["http", "socket", "uwsgi-socket", "shared-socket"], Ours("bind", "")),
    (UWSGI, &["protocol"], No("HTTP is all that it speaks")),
    (UWSGI, &["master", "vacuum", "die-on-term", "need-app", "enable-threads", "thunder-lock", "single-interpreter",
        "strict", "close-on-exec", "no-orphans"],
        No(ALWAYS)),
    (UWSGI, &["wsgi-file", "wsgi", "callable", "pyargv"], Ours("app", "")),
    (UWSGI, &["lazy-apps", "lazy"], Ours("preload", " off")),
    (UWSGI, &["harakiri", "http-timeout", "socket-timeout"], No(NO_TIMEOUT)),
    (UWSGI, &["buffer-size"], Ours("limit-request-field-size", "")),
    (UWSGI, &["post-buffering"],
        No("bodies are always read before the application has the request; buffer-memory bounds them")),
    (UWSGI, &["static-map", "check-static", "offload-threads"], No(NO_STATIC)),
    (UWSGI, &["daemonize", "daemonize2"], No(NO_DAEMON)),
    (UWSGI, &["logto", "logto2", "logger"], No(NO_LOG_FILE)),
    (UWSGI, &["disable-logging"], Ours("access-log", " off")),
    (UWSGI, &["log-format", "logformat"], Ours("access-log-format", "")),
    (UWSGI, &["stats", "stats-server"], No(NO_STATS)),
    (UWSGI, &["procname", "procname-prefix", "auto-procname"], No("titles say what each process does by themselves")),
    (UWSGI, &["chmod-socket", "chown-socket"], Ours("bind", " unix:PATH?mode=0660&group=GROUP")),
    (UWSGI, &["home", "venv", "pyhome"], Ours("python", "")),
    (UWSGI, &["python-path", "pp"], Ours("python-path", "")),
    (UWSGI, &["plugin", "plugins"], No("nothing has to be plugged in")),
    (UWSGI, &["emperor"], No("one server has one application; systemd starts as many as there are sites")),
    (UWSGI, &["gevent", "async", "ugreen", "asyncio"], No(NO_WORKER_CLASS)),
    (UWSGI, &["reload-on-rss", "evil-reload-on-rss", "reload-on-as"], Ours("max-child-memory", "")),
    (UWSGI, &["min-worker-lifetime", "worker-reload-mercy", "reload-mercy"], Ours("shutdown-timeout", "")),
    (UWSGI, &["cron", "spooler", "mule", "mules", "attach-daemon"],
        No("what is no request is for cron, systemd or a queue of tasks")),
    (UWSGI, &["safe-pidfile"], Ours("pid-file", "")),
    (UWSGI, &["set-env"], Ours("env", "")),
    (UWSGI, &["touch-chain-reload", "touch-workers-reload"], Ours("touch-reload", "")),
    (UWSGI, &["import-module", "shared-import"], Ours("import", "")),
    (MOD_WSGI, &["host", "port"], Ours("bind", " HOST:PORT")),
    (MOD_WSGI, &["working-directory"], Ours("chdir", "")),
    (MOD_WSGI, &["entry-point", "callable-object", "application-type"], Ours("app", "")),
    (MOD_WSGI, &["request-timeout", "deadlock-timeout", "socket-timeout", "connect-timeout"], No(NO_TIMEOUT)),
    (MOD_WSGI, &["graceful-timeout", "eviction-timeout"], Ours("shutdown-timeout", "")),
    (MOD_WSGI, &["reload-on-changes"], Ours("reload", "")),
    (MOD_WSGI, &["mount-point"], Ours("script-name", "")),
    (MOD_WSGI, &["url-alias", "document-root", "rewrite-rules"], No(NO_STATIC)),
    (MOD_WSGI, &["log-to-terminal", "startup-log", "log-directory", "error-log"], No(NO_LOG_FILE)),
    (MOD_WSGI, &["trust-proxy", "trust-proxy-header"], No(NO_PROXIES)),
    (MOD_WSGI, &["https-port", "https-only", "ssl-certificate", "ssl-certificate-file"], No(NO_TLS)),
    (MOD_WSGI, &["display-name"], No("titles say what each process does by themselves")),
    (MOD_WSGI, &["server-root", "setup-only", "server-name", "server-alias"], No("there is no Apache behind it to set up")),
    (MOD_WSGI, &["python-eggs", "lang", "locale"], Ours("env", " K=V")),
];

/// Letters that are no options here, each with the programs that have it and the name of its option there.
const LETTERS: &[(char, &[(&str, &str)])] = &[
    ('w', &[(GUNICORN, "workers"), (UWSGI, "module")]),
    ('k', &[(GUNICORN, "worker-class")]),
    ('c', &[(GUNICORN, "config")]),
    ('D', &[(GUNICORN, "daemon")]),
    ('R', &[(GUNICORN, "enable-stdio-inheritance")]),
    ('n', &[(GUNICORN, "name")]),
    ('u', &[(GUNICORN, "user")]),
    ('g', &[(GUNICORN, "group")]),
    ('m', &[(GUNICORN, "umask")]),
    ('e', &[(GUNICORN, "env")]),
    ('s', &[(UWSGI, "socket")]),
    ('M', &[(UWSGI, "master")]),
    ('H', &[(UWSGI, "home")]),
    ('l', &[(UWSGI, "listen")]),
    ('d', &[(UWSGI, "daemonize")]),
    ('L', &[(UWSGI, "disable-logging")]),
    ('C', &[(UWSGI, "chmod-socket")]),
    ('z', &[(UWSGI, "socket-timeout")]),
    ('i', &[(UWSGI, "single-interpreter")]),
];

/// The end of a message about a name that is no option: what the option of another server is here, or what was probably meant,
/// with `dashes` before its name.
pub(super) fn hint_at(typed: &str, dashes: &str, may: impl Fn(&Opt) -> bool) -> String {
    match answer(typed, dashes) {
        Some(answer) => format!("; {answer}"),
        None => hint(nearest_to(typed, may).map(|row| format!("{dashes}{}", row.name))),
    }
}

/// What to say of a name that is no option here; `dashes` is what stands before one.
fn answer(typed: &str, dashes: &str) -> Option<String> {
    let name = normal(typed);
    if OPTIONS.iter().any(|row| row.is_called(&name)) {
        return None;
    }
    if let Some(row) = named_by_a_row(&name, &[GUNICORN, UWSGI]) {
        return Some(ours(row, "", dashes));
    }
    let listed = ELSEWHERE
        .iter()
        .find(|(_, names, _)| names.contains(&&*name));
    match listed {
        Some((_, _, Ours(name, more))) => {
            let row = OPTIONS.iter().find(|row| row.name == *name)?;
            Some(ours(row, more, dashes))
        }
        Some((_, _, No(why))) => Some(format!("rwsgi has none: {why}")),
        // Its names are mostly those of a directive's parameters, which are typed less often.
        None => named_by_a_row(&name, &[MOD_WSGI]).map(|row| ours(row, "", dashes)),
    }
}

/// What to say of a letter that is no option here.
pub(super) fn answer_letter(letter: char) -> Option<String> {
    let (_, programs) = LETTERS.iter().find(|(other, _)| *other == letter)?;
    let own = |name: &str| OPTIONS.iter().find(|row| row.name == name);
    let answers = programs.iter().filter_map(|(program, name)| {
        let answer = own(name)
            .map(|row| ours(row, "", "--"))
            .or_else(|| answer(name, "--"))?;
        Some(format!("of {program}'s --{name}, {answer}"))
    });
    Some(answers.collect::<Vec<_>>().join("; "))
}

/// What is wrong with the value of a letter that means something else elsewhere.
pub(super) fn mistaken(letter: char, text: &str) -> Option<String> {
    match letter {
        // Seconds are given in multiples of 30, and so many threads by hardly anybody.
        't' => {
            let number: u64 = text.parse().ok()?;
            let looks_like_seconds = number > 64 || (number > 0 && number.is_multiple_of(30));
            looks_like_seconds.then(|| {
                format!(
                    "is a number of threads here, and -t of gunicorn and uWSGI a time limit (--timeout, --harakiri); for so many \
                     threads write --threads {number}. Of a time limit, {}",
                    answer("timeout", "--").unwrap_or_default()
                )
            })
        }
        'p' if text.contains(['/', '.'])
            && !text.starts_with(|first: char| first.is_ascii_digit()) =>
        {
            Some(
                "is a number of processes here; -p of gunicorn, a file for the pid, is --pid-file"
                    .to_owned(),
            )
        }
        _ => None,
    }
}

/// A name as the command line has it: gunicorn's settings have `_` instead.
fn normal(name: &str) -> String {
    name.to_lowercase().replace('_', "-")
}

/// The row that says that one of these programs calls it so. Directives of Apache are keys of the file, and no options.
fn named_by_a_row(name: &str, programs: &[&str]) -> Option<&'static Opt> {
    let is = |(program, other): &(&str, &str)| programs.contains(program) && normal(other) == name;
    OPTIONS.iter().find(|row| row.elsewhere.iter().any(is))
}

fn ours(row: &Opt, more: &str, dashes: &str) -> String {
    if row.place == Place::Positional && !dashes.is_empty() {
        return format!(
            "rwsgi takes it as {} without a name before it, as module:callable or FILE:callable",
            row.value
        );
    }
    format!("rwsgi calls it {dashes}{}{more}", row.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_names_an_option_that_there_is_and_none_that_is_wrong() {
        let is_option = |name: &str| {
            OPTIONS
                .iter()
                .any(|row| row.place != Place::Positional && row.is_called(name))
        };
        for (program, names, given) in ELSEWHERE {
            for name in *names {
                // What another program's name is here is the command line's own.
                assert!(
                    named_by_a_row(name, &[*program]).is_none(),
                    "{program} {name}: a row says so"
                );
                assert_eq!(normal(name), *name, "{program}");
            }
            match given {
                Ours(name, _) => assert!(OPTIONS.iter().any(|row| row.name == *name), "{name}"),
                No(why) => assert!(!why.ends_with('.') && !why.is_empty(), "{why}"),
            }
        }
        for (letter, programs) in LETTERS {
            assert!(
                OPTIONS.iter().all(|row| row.letter != Some(*letter)),
                "{letter}"
            );
            for (program, name) in *programs {
                assert!(
                    is_option(name) || answer(name, "--").is_some(),
                    "{program} {name}"
                );
            }
        }
    }
}
