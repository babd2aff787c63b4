//! The sources of values: command line, environment, file.

use super::*;

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
    assert_eq!(config.file, Some(folder.join("rwsgi.toml")));
}

#[test]
fn kubernetes_variables_of_a_service_named_rwsgi_are_ignored() {
    let folder = Folder::new(&[]);
    let env = [
        ("RWSGI_SERVICE_HOST", "10.43.214.28"),
        ("RWSGI_PORT", "tcp://10.43.214.28:8080"),
        ("RWSGI_BIND", "tcp://10.43.214.28:8080"),
        ("RWSGI_THREAD", "4"),
        ("RWSGI_THREADS", "3"),
    ];
    let config = folder.serve("a", &env);
    assert_eq!((config.threads, config.bind_given), (3, false));
    assert_eq!(
        config.ignored,
        [
            "RWSGI_BIND",
            "RWSGI_PORT",
            "RWSGI_SERVICE_HOST",
            "RWSGI_THREAD; did you mean RWSGI_THREADS?"
        ]
    );
}

#[test]
fn platform_variables_count_where_nothing_else_is_given() {
    let folder = Folder::new(&[]);
    let bound = |config: &Config| config.bind[0].to_string();
    let platform = [("PORT", "5000"), ("WEB_CONCURRENCY", "3")];
    let config = folder.serve("a", &platform);
    assert_eq!(
        (bound(&config), config.processes),
        ("0.0.0.0:5000".into(), 3)
    );
    // Sockets from systemd take precedence over it.
    assert!(!config.bind_given);
    let config = folder.serve("a", &[("PORT", ""), ("WEB_CONCURRENCY", "")]);
    assert_eq!(bound(&config), "127.0.0.1:8000");
    let given = [&platform[..], &[("RWSGI_PROCESSES", "2")]].concat();
    let config = folder.serve("-b :1 a", &given);
    assert_eq!((bound(&config), config.processes), ("0.0.0.0:1".into(), 2));
    let file = Folder::new(&[("rwsgi.toml", "bind = ':2'\nprocesses = 4")]);
    let config = file.serve("a", &platform);
    assert_eq!((bound(&config), config.processes), ("0.0.0.0:2".into(), 4));
    // An elastic pool was requested explicitly, so it is kept.
    let elastic = folder.serve("--mpm prefork a", &platform);
    assert_eq!(elastic.mpm(), Some(pool::Mpm::Prefork));
    for (name, value, message) in [
        ("PORT", "http", "bind \":http\""),
        (
            "WEB_CONCURRENCY",
            "many",
            "processes \"many\" must be a whole number",
        ),
    ] {
        let (code, text) = folder.fail("a", &[(name, value)]);
        assert!(
            code == 78 && text.starts_with(&format!("environment variable {name}: {message}")),
            "{text}"
        );
    }
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
    assert_eq!(config.front.keep_alive, Duration::from_secs(5));
    assert_eq!(
        (
            config.front.limit_request_line,
            config.front.limit_request_field_size
        ),
        (4094, 4094)
    );
    assert_eq!(
        (
            config.front.limit_request_fields,
            config.front.limit_request_body
        ),
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
fn paths_are_made_absolute_from_where_they_are_meant() {
    let folder = Folder::new(&[("site/app.py", ""), ("e.env", "")]);
    let args = "--chdir site --python-path lib --python-path /l --python v --env-file e.env -b unix:s -b unix:/s app.py";
    let config = folder.serve(args, &[]);
    let start = |path: &str| folder.join(path);
    assert_eq!(config.chdir, Some(start("site")));
    assert_eq!(config.python_path, [start("site/lib"), PathBuf::from("/l")]);
    assert_eq!(
        (config.python, config.env_file),
        (Some(start("v")), Some(start("e.env")))
    );
    assert_eq!(
        config.bind,
        [
            Address::Unix(start("s").into()),
            Address::Unix(PathBuf::from("/s").into())
        ]
    );
    let path = start("site/app.py");
    let callable = None;
    assert_eq!(config.app, Target::File { path, callable });
}
