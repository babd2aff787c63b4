//! The resolved values.

use super::*;

#[test]
fn the_defaults_are_those_of_the_contract() {
    let config = Folder::new(&[]).serve("a", &[]);
    assert_eq!(
        config,
        Config {
            app: module("a"),
            paste_global: vec![],
            bind: vec![Address::Tcp {
                host: "127.0.0.1".to_owned(),
                port: 8000
            }],
            bind_given: false,
            backlog: 511,
            processes: 1,
            elastic: Elastic::default(),
            pool_policy: Policy::Safe,
            memory_budget: Budget::Off,
            recycling: pool::Recycling::default(),
            shutdown_delay: Duration::ZERO,
            touch_reload: vec![],
            reload: false,
            reload_include: vec![],
            threads: 1,
            stack_size: 8 << 20,
            startup_timeout: Duration::from_secs(60),
            shutdown_timeout: Duration::from_secs(30),
            preload: Preload::Auto,
            import: vec![],
            warmup: vec![],
            warmup_failures: crate::config::WarmupFailures::Fail,
            script_name: String::new(),
            chdir: None,
            python_path: vec![],
            python: None,
            env: vec![],
            env_file: None,
            front: front::Settings {
                keep_alive: Duration::from_secs(5),
                http2: false,
                buffer_memory: 64 << 20,
                buffer_disk: 1 << 30,
                buffer_dir: None,
                header_timeout: Duration::from_secs(15),
                body_timeout: Duration::from_secs(60),
                min_rate: 500,
                send_timeout: Duration::from_secs(60),
                queue_timeout: Duration::from_secs(45),
                limit_request_line: 8190,
                limit_request_fields: 100,
                limit_request_field_size: 8190,
                limit_request_body: 1 << 30,
                health: None,
                max_connections: 10_000,
            },
            max_queue: 1024,
            user: None,
            group: None,
            identity: None,
            umask: None,
            access_log: None,
            access_log_given: false,
            access_log_format: front::access_log::Format::parse("combined").unwrap(),
            log_level: LogLevel::Info,
            log_format: LogFormat::Text,
            control: ControlPlace::Usual,
            control_group: None,
            pid_file: None,
            file: None,
            ignored: Vec::new(),
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
fn the_access_log_goes_to_the_given_target() {
    use AccessTarget as Target;
    let folder = Folder::new(&[]);
    for (value, target) in [
        ("off", None),
        ("-", Some(Target::Descriptor(1))),
        (
            "logs/access",
            Some(Target::File(folder.join("logs/access"))),
        ),
        ("/var/log/a", Some(Target::File("/var/log/a".into()))),
    ] {
        let config = folder.serve(&format!("--access-log {value} a"), &[]);
        assert_eq!(config.access_log, target, "{value}");
    }
}

#[test]
fn health_is_off_or_has_a_path() {
    let folder = Folder::new(&[]);
    for (value, health) in [
        ("off", None),
        ("/-/healthz", front::Health::at("/-/healthz").ok()),
    ] {
        let config = folder.serve(&format!("--health {value} a"), &[]);
        assert_eq!(config.front.health, health, "{value}");
    }
}

#[test]
fn a_wsgi_name_is_a_file_only_where_there_is_one() {
    let folder = Folder::new(&[("one.wsgi", "")]);
    assert_eq!(
        folder.serve("one.wsgi", &[]).app,
        Target::File {
            path: folder.join("one.wsgi"),
            callable: None
        }
    );
    assert_eq!(folder.serve("two.wsgi", &[]).app, module("two.wsgi"));
    let message = format!(
        "command line: app \"two.py\" is not a file in {}",
        folder.0.path().display()
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
fn switches_select_other_commands() {
    let folder = Folder::new(&[("rwsgi.toml", "broken")]);
    assert_eq!(
        folder.print("--version", &[]),
        format!("rwsgi {}\n", env!("CARGO_PKG_VERSION"))
    );
    assert_eq!(folder.print("-h", &[]), help::page());
    assert_eq!(
        folder.print("--help --unknown", &[("RWSGI_X", "1")]),
        help::page()
    );
    let command = Folder::new(&[]).read("--check a", &[]);
    assert!(matches!(command, Ok(Command::Check(_))), "{command:?}");
}
