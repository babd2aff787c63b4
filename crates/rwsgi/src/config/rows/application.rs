//! Rows of the table: the application and its Python.

use crate::config::configuration::{Preload, WarmupFailures};
use crate::config::spec::{Change, Kind, Opt, Place, ROW, RelativeTo, Section};
use crate::config::values::{application, mount_point::mount_point, variables};

pub(crate) const APP: Opt = Opt {
    name: "app",
    elsewhere: &[
        ("gunicorn", "wsgi_app"),
        ("uWSGI", "module"),
        ("Apache", "WSGIScriptAlias"),
    ],
    section: Section::Application,
    change: Change::WithReload,
    place: Place::Positional,
    relative_to: RelativeTo::Application,
    value: "APP",
    short: "The application to serve",
    long: "`module:callable`; or `module:factory()`, which is called for the application, also with arguments that are \
        literals: `module:create_app(\"prod\", debug=True)`; or `module`, in which `application` is looked for, then `app`; or the path of a \
        `.wsgi` or `.py` file, with or without `:callable`. Without one, in a folder with the `manage.py` of a Django project, the project's \
        `WSGI_APPLICATION` is served. A relative path is taken from `--chdir`.",
    kind: Kind::Text(|config, text, folder| {
        config.app = application::find(text, folder)?;
        Ok(())
    }),
    ..ROW
};

pub(crate) const PASTE: Opt = Opt {
    name: "paste",
    also: &["paster"],
    elsewhere: &[("gunicorn", "paste"), ("uWSGI", "ini-paste")],
    section: Section::Application,
    change: Change::WithReload,
    relative_to: RelativeTo::Application,
    value: "FILE[#NAME]",
    short: "Serve the application of a file of PasteDeploy",
    long: "In place of `APP`: an `.ini` as Pyramid, CKAN and others have it, and the name of its application where that is \
        not `main`. Python's logging is set up by its `[loggers]`, and with `--reload` a change of the file counts as one \
        of a module. Its `[server:main]` is not read: what is in it for `pserve` is given as options, or `pserve` itself \
        starts the server with `use = egg:rwsgi#main` there, and all other lines of the section are options \
        (docs/paste.md). It needs the package PasteDeploy in the application's environment. A relative path is \
        taken from `--chdir`.",
    kind: Kind::Text(|config, text, folder| {
        config.app = application::find_paste(text, folder)?;
        Ok(())
    }),
    ..ROW
};

pub(crate) const PASTE_GLOBAL: Opt = Opt {
    name: "paste-global",
    elsewhere: &[("gunicorn", "paste-global")],
    section: Section::Application,
    change: Change::WithReload,
    value: "K=V",
    short: "Set a variable for the file of --paste",
    long: "The file has it as `%(K)s`, and the application among its global settings; `pserve FILE K=V` does the same.",
    kind: Kind::Pairs(|config, text, _| {
        let pair = variables::variable(text)?;
        config.paste_global.push(pair);
        Ok(())
    }),
    ..ROW
};

pub(crate) const PRELOAD: Opt = Opt {
    name: "preload",
    elsewhere: &[("gunicorn", "preload_app")],
    section: Section::Application,
    change: Change::WithReload,
    value: "auto|on|off",
    default: Some("auto"),
    short: "Import the application once, before the children are forked",
    long: "Children then share the memory of what was imported, and start at once. `auto` warns and falls back to \
        `off` when the import left what processes cannot share: threads, locks, connections, files that are open for \
        writing, helper processes and the like; `on` only warns. With `off` each child imports for itself. \
        `auto` does so, too, where there is one process that no option replaces: it has none to share with, and would \
        cost its memory once more. Who means to add processes by hand (`rwsgictl scale`), or wants one that has crashed \
        back at once, gives `on`. \
        docs/fork-safety.md has all that is looked for; `--check` prints what was found.",
    kind: Kind::Choice(&[
        ("auto", |config| config.preload = Preload::Auto),
        ("on", |config| config.preload = Preload::On),
        ("off", |config| config.preload = Preload::Off),
    ]),
    ..ROW
};

pub(crate) const IMPORT: Opt = Opt {
    name: "import",
    elsewhere: &[("mod_wsgi", "WSGIImportScript"), ("uWSGI", "import")],
    section: Section::Application,
    change: Change::WithReload,
    value: "MODULE",
    short: "Also import this module",
    long: "For modules that the application imports only when they are first used: imported early, their memory is \
        shared.",
    kind: Kind::List(|config, text, _| {
        application::check_dotted(text)?;
        config.import.push(text.to_owned());
        Ok(())
    }),
    ..ROW
};

pub(crate) const WARMUP: Opt = Opt {
    name: "warmup",
    section: Section::Application,
    change: Change::WithReload,
    value: "URL",
    short: "Request this before the first child is forked",
    long: "A path (`/books/`), or a URL when the application looks at the host. The request is answered in the \
        mold, so that what it loads and fills is shared by all children, and once more in a process that is \
        forked on trial; with `--preload off` each child answers it \
        itself before it takes requests. An exception, or a status of 500 or more, is as if the application could not \
        be loaded: the server does not start, a reload fails and the old generation serves on, `--check` exits with \
        78. `--warmup-failures warn` only warns. Once a child of a generation has been ready, those that are started \
        later only warn, too. Other responses than 2xx or 3xx are reported.",
    kind: Kind::List(|config, text, _| {
        application::check_url(text)?;
        config.warmup.push(text.to_owned());
        Ok(())
    }),
    ..ROW
};

pub(crate) const WARMUP_FAILURES: Opt = Opt {
    name: "warmup-failures",
    section: Section::Application,
    change: Change::WithReload,
    value: "fail|warn",
    default: Some("fail"),
    short: "What comes of a request of --warmup that fails",
    long: "`fail`: an exception, or a status of 500 or more, is as if the application could not be loaded. `warn`: it is \
        reported, and the application is served.",
    kind: Kind::Choice(&[
        ("fail", |config| {
            config.warmup_failures = WarmupFailures::Fail
        }),
        ("warn", |config| {
            config.warmup_failures = WarmupFailures::Warn
        }),
    ]),
    ..ROW
};

pub(crate) const SCRIPT_NAME: Opt = Opt {
    name: "script-name",
    elsewhere: &[("Apache", "WSGIScriptAlias"), ("uWSGI", "mount")],
    section: Section::Application,
    change: Change::WithReload,
    value: "PATH",
    default: Some(""),
    short: "Path under which the application is mounted",
    long: "It becomes `SCRIPT_NAME` and is taken off the front of `PATH_INFO`.",
    kind: Kind::Text(|config, text, _| mount_point(text).map(|path| config.script_name = path)),
    ..ROW
};

pub(crate) const CHDIR: Opt = Opt {
    name: "chdir",
    elsewhere: &[("mod_wsgi", "home")],
    section: Section::Python,
    change: Change::WithReload,
    value: "DIR",
    short: "Change to this folder before the application is imported",
    long: "The folder is also the first that Python imports from. Without the option it is the one in which the server is \
        started, by its name as the shell has it (`PWD`). Each generation enters it by name: where a deploy turns a link \
        (`current`), a reload serves what the link leads to then.",
    kind: Kind::Folder(|config, path| config.chdir = Some(path)),
    ..ROW
};

pub(crate) const PYTHON_PATH: Opt = Opt {
    name: "python-path",
    elsewhere: &[
        ("gunicorn", "pythonpath"),
        ("uWSGI", "pythonpath"),
        ("Apache", "WSGIPythonPath"),
    ],
    section: Section::Python,
    change: Change::WithReload,
    value: "DIR",
    short: "Also import from this folder",
    long: "Put in front of `sys.path`, in the order given. A relative path is taken from `--chdir`.",
    relative_to: RelativeTo::Application,
    kind: Kind::List(|config, text, folder| {
        config.python_path.push(folder.join(text));
        Ok(())
    }),
    ..ROW
};

pub(crate) const PYTHON: Opt = Opt {
    name: "python",
    elsewhere: &[
        ("mod_wsgi", "python-home"),
        ("uWSGI", "virtualenv"),
        ("Apache", "WSGIPythonHome"),
    ],
    section: Section::Python,
    value: "PATH",
    short: "The Python interpreter, or the folder of a virtual environment",
    long: "Without it the virtual environment named by `VIRTUAL_ENV` is used. The wheel's command becomes the interpreter \
        that is named, wherever it is itself installed (as by pipx or `uv tool`): any CPython from 3.10, with its own \
        packages. The binary takes the packages of an environment of the minor version that it is linked with.",
    kind: Kind::Path(|config, path| config.python = Some(path)),
    ..ROW
};

pub(crate) const ENV: Opt = Opt {
    name: "env",
    elsewhere: &[("gunicorn", "raw_env")],
    section: Section::Python,
    change: Change::WithReload,
    value: "K=V",
    short: "Set a variable in the application's environment",
    long: "It is in `os.environ` before the application is imported. In the file a table (`[env]`) is also \
        taken.",
    kind: Kind::Pairs(|config, text, _| {
        let pair = variables::variable(text)?;
        config.env.push(pair);
        Ok(())
    }),
    ..ROW
};

pub(crate) const ENV_FILE: Opt = Opt {
    name: "env-file",
    elsewhere: &[("systemd", "EnvironmentFile")],
    section: Section::Python,
    change: Change::WithReload,
    value: "FILE",
    short: "Set the variables that this file lists",
    long: "Lines of `K=V`; empty ones and those that begin with `#` are skipped, `export` in front and one pair of \
        quotes around the value are taken off, nothing is expanded. `--env` overrules the file.",
    kind: Kind::Path(|config, path| config.env_file = Some(path)),
    ..ROW
};
