//! The options as an operator meets them: what is typed, and what comes of it.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use supervisor::Address;

use super::config::{Budget, Config, ControlPlace, Elastic, LogLevel, Policy, Preload, Target};
use super::error::Error;
use super::table::OPTIONS;
use super::{Command, read, reference, write};

/// A folder of its own for one test, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(files: &[(&str, &str)]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "rwsgi-options-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let folder = Self(std::env::temp_dir().join(name));
        fs::create_dir(&folder.0).unwrap();
        for (name, text) in files {
            let path = folder.0.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    /// Reads a command line, split at spaces, and an environment in this folder.
    fn read(&self, args: &str, env: &[(&str, &str)]) -> Result<Command, Error> {
        let env = env
            .iter()
            .map(|(name, value)| (OsString::from(name), OsString::from(value)));
        read(args.split_whitespace().map(OsString::from), env, &self.0)
    }

    /// The configuration to serve with.
    fn serve(&self, args: &str, env: &[(&str, &str)]) -> Config {
        match self.read(args, env) {
            Ok(Command::Serve(config)) => *config,
            other => panic!("{args}: {other:?}"),
        }
    }

    /// The exit code and the message of what is wrong.
    fn fail(&self, args: &str, env: &[(&str, &str)]) -> (u8, String) {
        match self.read(args, env) {
            Err(error) => (error.exit_code(), error.to_string()),
            Ok(other) => panic!("{args}: {other:?}"),
        }
    }

    fn print(&self, args: &str, env: &[(&str, &str)]) -> String {
        match self.read(args, env) {
            Ok(Command::Print(text)) => text,
            other => panic!("{args}: {other:?}"),
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

/// Reads a command line where there is no file, and expects this message and exit code 64.
fn check_usage(args: &str, message: &str) {
    assert_eq!(
        Folder::new(&[]).fail(args, &[]),
        (64, format!("command line: {message}")),
        "{args}"
    );
}

/// Reads `rwsgi.toml`, and expects this message and exit code 78.
fn check_file(text: &str, message: &str) {
    let folder = Folder::new(&[("rwsgi.toml", text)]);
    assert_eq!(folder.fail("", &[]), (78, message.to_owned()), "{text}");
}

fn module(name: &str) -> Target {
    Target::Module {
        module: name.to_owned(),
        callable: None,
    }
}

#[test]
fn the_defaults_are_those_of_the_contract() {
    let config = Folder::new(&[]).serve("a", &[]);
    assert_eq!(
        config,
        Config {
            app: module("a"),
            bind: vec![Address::Tcp {
                host: "127.0.0.1".to_owned(),
                port: 8000
            }],
            bind_given: false,
            backlog: 511,
            max_connections: 10_000,
            processes: 1,
            elastic: Elastic::default(),
            pool_policy: Policy::Safe,
            memory_budget: Budget::Off,
            recycling: pool::Recycling::default(),
            shutdown_delay: Duration::ZERO,
            touch_reload: vec![],
            reload: false,
            threads: 1,
            stack_size: 8 << 20,
            startup_timeout: Duration::from_secs(60),
            shutdown_timeout: Duration::from_secs(30),
            preload: Preload::Auto,
            import: vec![],
            warmup: vec![],
            script_name: String::new(),
            chdir: None,
            python_path: vec![],
            python: None,
            env: vec![],
            env_file: None,
            keep_alive: Duration::from_secs(5),
            header_timeout: Duration::from_secs(15),
            body_timeout: Duration::from_secs(60),
            min_rate: 500,
            send_timeout: Duration::from_secs(60),
            queue_timeout: Duration::from_secs(45),
            limit_request_line: 8190,
            limit_request_fields: 100,
            limit_request_field_size: 8190,
            limit_request_body: 1 << 30,
            max_queue: 1024,
            user: None,
            group: None,
            identity: None,
            umask: None,
            access_log: None,
            access_log_format: front::access::Format::parse("combined").unwrap(),
            health: None,
            log_level: LogLevel::Info,
            control: ControlPlace::Usual,
            pid_file: None,
            file: None,
        }
    );
}

#[test]
fn user_and_group_are_names_or_numbers_and_must_exist() {
    let folder = Folder::new(&[]);
    let config = folder.serve("--user root --umask 027 a", &[]);
    assert_eq!(config.identity, folder.serve("--user 0 a", &[]).identity);
    assert!(config.identity.is_some());
    assert_eq!(config.umask, Some(0o27));
    for (option, value, problem) in [
        ("--user", "no-such-user", "is no user of this machine"),
        ("--group", "no-such-group", "is no group of this machine"),
        ("--umask", "8", "must be an octal number from 0 to 777"),
        ("--umask", "1000", "must be an octal number from 0 to 777"),
        ("--umask", "+7", "must be an octal number from 0 to 777"),
        ("--user", "4294967000", "give --group as well"),
    ] {
        let (code, error) = folder.fail(&format!("{option} {value} a"), &[]);
        assert_eq!(code, 64);
        assert!(error.contains(value) && error.contains(problem), "{error}");
    }
}

#[test]
fn the_access_log_goes_where_it_is_told() {
    use front::access::Target;
    let folder = Folder::new(&[]);
    for (value, target) in [
        ("off", None),
        ("-", Some(Target::Stdout)),
        (
            "logs/access",
            Some(Target::File(folder.0.join("logs/access"))),
        ),
        ("/var/log/a", Some(Target::File("/var/log/a".into()))),
    ] {
        let config = folder.serve(&format!("--access-log {value} a"), &[]);
        assert_eq!(config.access_log, target, "{value}");
    }
}

#[test]
fn health_is_told_where_it_is_asked_for() {
    let folder = Folder::new(&[]);
    for (value, health) in [
        ("off", None),
        ("/-/healthz", front::Health::at("/-/healthz").ok()),
    ] {
        let config = folder.serve(&format!("--health {value} a"), &[]);
        assert_eq!(config.health, health, "{value}");
    }
}

#[test]
fn the_command_line_takes_each_way_to_write_a_value() {
    let folder = Folder::new(&[]);
    for args in [
        "-p4 -t 2 -b :1 -b :2 a",
        "--processes=4 --threads 2 a --bind=:1 --bind :2",
        "-p=4 -t2 -b:1 -b=:2 -- a",
    ] {
        let config = folder.serve(args, &[]);
        assert_eq!(
            (
                config.processes,
                config.threads,
                config.bind_given,
                config.app
            ),
            (4, 2, true, module("a")),
            "{args}"
        );
        let ports: Vec<_> = config.bind.iter().map(Address::to_string).collect();
        assert_eq!(ports, ["0.0.0.0:1", "0.0.0.0:2"], "{args}");
    }
    assert_eq!(folder.serve("-t 2 -t 3 a", &[]).threads, 3);
}

#[test]
fn the_command_line_comes_before_the_environment_and_that_before_the_file() {
    let folder = Folder::new(&[(
        "rwsgi.toml",
        "app = 'f'\nthreads = 4\nprocesses = 4\nbacklog = 4\nwarmup = ['/f']",
    )]);
    let env = [
        ("RWSGI_THREADS", "3"),
        ("RWSGI_PROCESSES", "3"),
        ("RWSGI_WARMUP", "/a, /b"),
        ("RWSGI_APP", ""),
    ];
    let config = folder.serve("--threads 2", &env);
    assert_eq!(
        (config.threads, config.processes, config.backlog),
        (2, 3, 4)
    );
    assert_eq!(
        (config.app, config.warmup),
        (module("f"), vec!["/a".to_owned(), "/b".to_owned()])
    );
    assert_eq!(config.file, Some(folder.0.join("rwsgi.toml")));
}

#[test]
fn a_table_copied_from_apache_works_in_its_units() {
    let text = "app = 'a'\nThreadsPerChild = 25\nThreadStackSize = 1048576\nlistenbacklog = 100\nKeepAliveTimeout = 5\n\
        LimitRequestLine = 4094\nLimitRequestFields = 0\nLimitRequestFieldSize = 4094\nLimitRequestBody = 0\nLogLevel = 'warn'";
    let config = Folder::new(&[("rwsgi.toml", text)]).serve("", &[]);
    assert_eq!(
        (config.threads, config.stack_size, config.backlog),
        (25, 1 << 20, 100)
    );
    assert_eq!(config.keep_alive, Duration::from_secs(5));
    assert_eq!(
        (config.limit_request_line, config.limit_request_field_size),
        (4094, 4094)
    );
    assert_eq!(
        (config.limit_request_fields, config.limit_request_body),
        (32_767, u64::MAX)
    );
    assert_eq!(config.log_level, LogLevel::Warn);
}

#[test]
fn the_file_takes_the_types_of_toml() {
    let text = "app = 'a'\npreload = false\nthreads = '2'\nstack-size = 0x100_000\nbind = ':1'\n[env]\nA = 'x y'\nB = 1";
    let config = Folder::new(&[("rwsgi.toml", text)]).serve("", &[]);
    assert_eq!(
        (
            config.preload,
            config.threads,
            config.stack_size,
            config.bind.len()
        ),
        (Preload::Off, 2, 1 << 20, 1)
    );
    assert_eq!(
        config.env,
        [
            ("A".to_owned(), "x y".to_owned()),
            ("B".to_owned(), "1".to_owned())
        ]
    );
}

#[test]
fn another_file_can_be_named() {
    let folder = Folder::new(&[("rwsgi.toml", "threads = 2"), ("other.toml", "threads = 3")]);
    assert_eq!(folder.serve("--config other.toml a", &[]).threads, 3);
    assert_eq!(
        folder.serve("a", &[("RWSGI_CONFIG", "other.toml")]).threads,
        3
    );
    let message = "command line: config none.toml cannot be read";
    assert_eq!(
        folder.fail("--config none.toml a", &[]),
        (64, message.to_owned())
    );
    let message = "environment variable RWSGI_CONFIG: config none.toml cannot be read";
    assert_eq!(
        folder.fail("a", &[("RWSGI_CONFIG", "none.toml")]),
        (78, message.to_owned())
    );
}

#[test]
fn a_wrong_command_line_is_explained() {
    check_usage(
        "--thread 4 a",
        "unknown option --thread; did you mean --threads?",
    );
    check_usage(
        "--workers 4 a",
        "unknown option --workers; did you mean --processes?",
    );
    check_usage("--sandwich x a", "unknown option --sandwich");
    check_usage(
        "--access-log-format %h%z a",
        "access-log-format \"%h%z\" has no meaning from character 3 on: `%z`; there are %h %a %l %u %t %{strftime}t %r \
         %m %U %q %H %s %>s %b %B %T %{s}T %{ms}T %{us}T %D %{Field}i %{Field}o %p %P and %%",
    );
    check_usage("-x a", "unknown option -x");
    check_usage("--threads", "missing argument for option '--threads'");
    check_usage(
        "--check=1 a",
        "unexpected argument for option '--check': \"1\"",
    );
    check_usage("a b", "unexpected argument \"b\": APP is given already");
    check_usage(
        "--threads many a",
        "threads \"many\" must be a whole number from 1 to 255",
    );
    check_usage(
        "--threads 256 a",
        "threads \"256\" must be a whole number from 1 to 255",
    );
    check_usage(
        "--processes 0 a",
        "processes \"0\" must be a whole number from 1 to 512, or auto",
    );
    check_usage(
        "--stack-size 255K a",
        "stack-size \"255K\" must be a size from 256K to 1G",
    );
    check_usage(
        "--header-timeout 0 a",
        "header-timeout \"0\" must be a time from 1ms to 24h",
    );
    check_usage(
        "--preload offf a",
        "preload \"offf\" must be one of auto, on, off; did you mean off?",
    );
    check_usage(
        "--bind 8000 a",
        "bind \"8000\" has no port: write HOST:PORT, :PORT, unix:PATH or fd://N",
    );
    check_usage(
        "--health /health/ a",
        "health \"/health/\" must be `off` or a path such as /-/healthz: percent-encoded, without a query and without / \
         at its end",
    );
    check_usage("--env A a", "env \"A\" must be NAME=VALUE");
    check_usage("--python= a", "python \"\" must not be empty");
    check_usage("--chdir none a", "chdir \"none\" is not a folder");
    check_usage(
        "a:b()",
        "app \"a:b()\" must be module:callable, module, or the path of a .wsgi or .py file",
    );
}

#[test]
fn a_wrong_environment_is_explained() {
    let folder = Folder::new(&[]);
    for (name, value, message) in [
        (
            "RWSGI_THREADS",
            "many",
            "threads \"many\" must be a whole number from 1 to 255",
        ),
        (
            "RWSGI_THREAD",
            "4",
            "unknown variable RWSGI_THREAD; did you mean RWSGI_THREADS?",
        ),
        ("RWSGI_HELP", "1", "unknown variable RWSGI_HELP"),
        (
            "RWSGI_BIND",
            ":1,x",
            "bind \"x\" has no port: write HOST:PORT, :PORT, unix:PATH or fd://N",
        ),
    ] {
        let expected = (78, format!("environment variable {name}: {message}"));
        assert_eq!(
            folder.fail("a", &[("PATH", "/bin"), (name, value)]),
            expected
        );
    }
}

#[test]
fn a_wrong_file_is_explained() {
    check_file(
        "# note\nthread = 4",
        "rwsgi.toml:2: unknown key thread; did you mean threads?",
    );
    check_file(
        "stack_size = 1",
        "rwsgi.toml:1: unknown key stack_size; did you mean stack-size?",
    );
    check_file(
        "threads-per-child = 1",
        "rwsgi.toml:1: unknown key threads-per-child; did you mean threads?",
    );
    check_file("config = 'x'", "rwsgi.toml:1: unknown key config");
    check_file(
        "\nthreads = 'many'",
        "rwsgi.toml:2: threads \"many\" must be a whole number from 1 to 255",
    );
    check_file(
        "threads = -1",
        "rwsgi.toml:1: threads \"-1\" must be a whole number from 1 to 255",
    );
    check_file(
        "keep-alive = 1.5",
        "rwsgi.toml:1: keep-alive \"1.5\" must be a time from 0 to 24h",
    );
    check_file(
        "threads = [1]",
        "rwsgi.toml:1: threads cannot be of the type array",
    );
    check_file(
        "[threads]\na = 1",
        "rwsgi.toml:1: threads cannot be of the type table",
    );
    check_file(
        "bind = [\n':1',\n'x']",
        "rwsgi.toml:3: bind \"x\" has no port: write HOST:PORT, :PORT, unix:PATH or fd://N",
    );
    check_file(
        "threads = 1\nThreadsPerChild = 2",
        "rwsgi.toml:2: threads is given a second time, after rwsgi.toml:1",
    );
    let (code, message) = Folder::new(&[("rwsgi.toml", "threads = 1\nthreads =\n")]).fail("a", &[]);
    assert!(
        code == 78 && message.starts_with("rwsgi.toml:2: "),
        "{code} {message}"
    );
}

#[test]
fn paths_are_made_absolute_from_where_they_are_meant() {
    let folder = Folder::new(&[("site/app.py", ""), ("e.env", "")]);
    let args = "--chdir site --python-path lib --python-path /l --python v --env-file e.env -b unix:s -b unix:/s app.py";
    let config = folder.serve(args, &[]);
    let start = |path: &str| folder.0.join(path);
    assert_eq!(config.chdir, Some(start("site")));
    assert_eq!(config.python_path, [start("site/lib"), PathBuf::from("/l")]);
    assert_eq!(
        (config.python, config.env_file),
        (Some(start("v")), Some(start("e.env")))
    );
    assert_eq!(
        config.bind,
        [Address::Unix(start("s")), Address::Unix("/s".into())]
    );
    assert_eq!(config.app, Target::File(start("site/app.py")));
}

#[test]
fn a_wsgi_name_is_a_file_only_where_there_is_one() {
    let folder = Folder::new(&[("one.wsgi", "")]);
    assert_eq!(
        folder.serve("one.wsgi", &[]).app,
        Target::File(folder.0.join("one.wsgi"))
    );
    assert_eq!(folder.serve("two.wsgi", &[]).app, module("two.wsgi"));
    let message = format!(
        "command line: app \"two.py\" is not a file in {}",
        folder.0.display()
    );
    assert_eq!(folder.fail("two.py", &[]), (64, message));
}

#[test]
fn env_overrules_the_env_file() {
    let folder = Folder::new(&[("e.env", "A=file\nB=file\n"), ("bad.env", "A=1\nB\n")]);
    let pairs = |list: &[(&str, &str)]| -> Vec<(String, String)> {
        list.iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    };
    let config = folder.serve("--env-file e.env --env A=1 --env C= --env A=2 a", &[]);
    assert_eq!(config.env, pairs(&[("A", "2"), ("B", "file"), ("C", "")]));
    assert_eq!(
        folder.fail("--env-file bad.env a", &[]),
        (78, "bad.env:2: must be NAME=VALUE".to_owned())
    );
    let message = "command line: env-file none.env cannot be read".to_owned();
    assert_eq!(folder.fail("--env-file none.env a", &[]), (64, message));
}

#[test]
fn without_an_application_a_django_project_is_served() {
    let manage = "os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'mysite.settings')";
    let folder = Folder::new(&[("site/manage.py", manage), ("none/manage.py", "pass")]);
    let django = |settings: &str| Target::Django {
        settings: settings.to_owned(),
    };
    assert_eq!(
        folder.serve("--chdir site", &[]).app,
        django("mysite.settings")
    );
    assert_eq!(
        folder
            .serve("--chdir site", &[("DJANGO_SETTINGS_MODULE", "a")])
            .app,
        django("a")
    );
    let args = "--chdir site --env DJANGO_SETTINGS_MODULE=b";
    assert_eq!(
        folder.serve(args, &[("DJANGO_SETTINGS_MODULE", "a")]).app,
        django("b")
    );
    for (args, problem) in [
        ("", "there is no manage.py in "),
        ("--chdir none", "sets no DJANGO_SETTINGS_MODULE"),
    ] {
        let (code, message) = folder.fail(args, &[]);
        assert!(
            code == 64 && message.contains("module:callable") && message.contains(problem),
            "{message}"
        );
    }
}

#[test]
fn other_things_than_serving_can_be_asked_for() {
    let folder = Folder::new(&[("rwsgi.toml", "broken")]);
    assert_eq!(
        folder.print("--version", &[]),
        format!("rwsgi {}\n", env!("CARGO_PKG_VERSION"))
    );
    assert_eq!(folder.print("-h", &[]), write::help());
    assert_eq!(
        folder.print("--help --unknown", &[("RWSGI_X", "1")]),
        write::help()
    );
    let command = Folder::new(&[]).read("--check a", &[]);
    assert!(matches!(command, Ok(Command::Check(_))), "{command:?}");
}

#[test]
fn the_printed_configuration_tells_where_each_value_comes_from() {
    let folder = Folder::new(&[("rwsgi.toml", "\nbacklog = 9\n")]);
    let page = folder.print(
        "-t 2 --env A=\"\\ --print-config a",
        &[("RWSGI_KEEP_ALIVE", "1s")],
    );
    for line in [
        "app = \"a\"  # command line",
        "threads = 2  # command line",
        "env = [\"A=\\\"\\\\\"]  # command line",
        "keep-alive = \"1s\"  # environment variable RWSGI_KEEP_ALIVE",
        "backlog = 9  # rwsgi.toml:2",
        "# stack-size = \"8M\"  # default",
        "# limit-request-line = 8190  # default",
        "# bind = [\"127.0.0.1:8000\"]  # default",
        "# python is not set",
    ] {
        assert!(
            page.lines().any(|printed| printed == line),
            "{line} is not in\n{page}"
        );
    }
}

#[test]
fn the_printed_configuration_is_a_configuration() {
    let folder = Folder::new(&[]);
    let args = "-p 007 -b :1 -b unix:s --env A=\"\\ --warmup /a --keep-alive 500ms --limit-request-body 0 --preload on a:b";
    let mut config = folder.serve(args, &[]);
    fs::write(
        folder.0.join("rwsgi.toml"),
        folder.print(&format!("--print-config {args}"), &[]),
    )
    .unwrap();
    config.file = Some(folder.0.join("rwsgi.toml"));
    assert_eq!(folder.serve("", &[]), config);
    // Nor does it need an application, so that a first file can be made with it.
    assert!(
        Folder::new(&[])
            .print("--print-config", &[])
            .contains("# app is not set\n")
    );
}

#[test]
fn help_shows_every_option_in_80_columns() {
    let help = write::help();
    for row in OPTIONS {
        assert!(help.contains(&row.usage()), "{}", row.name);
    }
    for line in help.lines() {
        assert!(line.len() < 80, "{line}");
    }
}

#[test]
fn the_reference_page_is_fresh() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/options.md");
    let page = reference::page();
    if std::env::var_os("BLESS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, page).unwrap();
        return;
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page,
        "docs/options.md is stale: run BLESS=1 cargo test -p rwsgi reference"
    );
}
