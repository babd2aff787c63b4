//! Errors are explained, with their place.

use super::*;

#[test]
fn a_wrong_command_line_is_explained() {
    check_usage(
        "--thread 4 a",
        "unknown option --thread; did you mean --threads?",
    );
    check_usage(
        "--workers 4 a",
        "unknown option --workers; rwsgi calls it --processes",
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
    check_usage("--buffer-dir none a", "buffer-dir \"none\" is not a folder");
    check_usage(
        "a:b(",
        "app \"a:b(\" must be module:callable, module:factory(), module, or the path of a .wsgi or .py file",
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
