//! How an application is found, warmed up and audited.

use std::fs;

use crate::{App, LoadError, Target, Warmed};
use pyo3::prelude::*;
use tempfile::TempDir;

use super::support::{Ask, attached, load, module, spec};

/// A file in a folder of its own: of two files with the same path, Python's cache can load the code of the other one.
struct Scratch {
    folder: TempDir,
    name: &'static str,
}

impl Scratch {
    fn new(name: &'static str, text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(name), text).unwrap();
        Self { folder, name }
    }

    fn target(&self) -> Target {
        Target::File {
            path: self.folder.path().join(self.name),
            callable: None,
        }
    }
}

/// Loads a target, and returns the body of an answer.
fn body(py: Python<'_>, target: Target) -> Result<String, LoadError> {
    App::load(py, &spec(target)).map(|app| Ask::get("/").send(py, &app).body())
}

fn saying(name: &str, word: &str) -> String {
    format!("def {name}(e, s):\n s('200 OK', [])\n return [b'{word}']\n")
}

#[test]
fn the_callable_is_the_one_named_else_application_else_app() {
    attached(|py| {
        let both = saying("app", "app")
            + &saying("application", "application")
            + "class inner:\n own = app\n";
        let target = |callable: Option<&str>| {
            let module = module(py, &both).1;
            Target::Module {
                module,
                callable: callable.map(str::to_owned),
            }
        };
        assert_eq!(body(py, target(None)).unwrap(), "application");
        assert_eq!(body(py, target(Some("app"))).unwrap(), "app");
        let (_, module) = module(py, &saying("app", "only app"));
        assert_eq!(
            body(
                py,
                Target::Module {
                    module,
                    callable: None
                }
            )
            .unwrap(),
            "only app"
        );
    });
}

#[test]
fn an_attribute_of_an_attribute_may_be_named() {
    attached(|py| {
        let code = saying("app", "app") + "class site:\n pass\nsite.app = app\n";
        let target = Target::Module {
            module: module(py, &code).1,
            callable: Some("site.app".into()),
        };
        assert_eq!(body(py, target).unwrap(), "app");
    });
}

#[test]
fn a_missing_target_is_named() {
    attached(|py| {
        let missing = |target| match body(py, target) {
            Err(LoadError::NotThere(text)) => text,
            other => panic!("{other:?}"),
        };
        let empty = || module(py, "").1;
        let text = missing(Target::Module {
            module: empty(),
            callable: None,
        });
        assert!(
            text.ends_with("has neither `application` nor `app`"),
            "{text}"
        );
        let text = missing(Target::Module {
            module: empty(),
            callable: Some("site.app".into()),
        });
        assert!(text.ends_with("has no attribute `site.app`"), "{text}");
        let text = missing(Target::Module {
            module: module(py, "app = 3").1,
            callable: None,
        });
        assert!(text.ends_with("cannot be called: 3"), "{text}");
        let text = missing(Target::File {
            path: "/nowhere/site.wsgi".into(),
            callable: None,
        });
        assert_eq!(text, "there is no file /nowhere/site.wsgi");
    });
}

#[test]
fn an_exception_at_import_is_summed_up_in_one_line() {
    attached(|py| {
        for (code, expected) in [
            ("raise ValueError('a\\nb')", "ValueError: a b"),
            ("import sys; sys.exit(3)", "SystemExit: 3"),
            ("raise KeyboardInterrupt", "KeyboardInterrupt"),
            (
                "import a_module_that_nobody_has",
                "ModuleNotFoundError: No module named 'a_module_that_nobody_has'",
            ),
        ] {
            let failing = Scratch::new("failing.wsgi", code);
            match body(py, failing.target()) {
                Err(LoadError::Raised { summary, traceback }) => {
                    assert_eq!(summary, expected);
                    let kind = expected.split(':').next().unwrap();
                    assert!(traceback.contains(kind), "{traceback}");
                }
                other => panic!("{code}: {other:?}"),
            }
        }
    });
}

#[test]
fn a_missing_module_differs_from_a_missing_import_in_it() {
    attached(|py| {
        let load = |module: &str| {
            let module = module.to_owned();
            let callable = None;
            body(py, Target::Module { module, callable })
        };
        for name in [
            "a_module_that_nobody_has",
            "a_module_that_nobody_has.wsgi",
            "json.wsgi",
        ] {
            match load(name) {
                Err(LoadError::NotThere(text)) => {
                    assert!(
                        text.starts_with("ModuleNotFoundError: No module named"),
                        "{text}"
                    );
                }
                other => panic!("{name}: {other:?}"),
            }
        }
        let failing = Scratch::new("imports_of_rwsgi.py", "import a_module_that_nobody_has");
        let mut spec = spec(Target::Module {
            module: "imports_of_rwsgi".to_owned(),
            callable: None,
        });
        spec.python_path = vec![failing.folder.path().to_owned()];
        assert!(matches!(
            App::load(py, &spec),
            Err(LoadError::Raised { .. })
        ));
    });
}

#[test]
fn a_file_is_loaded_with_any_suffix_and_hides_no_module() {
    attached(|py| {
        let wsgi = Scratch::new("site.wsgi", &saying("application", "wsgi"));
        assert_eq!(body(py, wsgi.target()).unwrap(), "wsgi");
        let code = format!(
            "import json\nassert json.dumps(1) == '1'\n{}",
            saying("app", "json")
        );
        let json = Scratch::new("json.py", &code);
        assert_eq!(body(py, json.target()).unwrap(), "json");
    });
}

#[test]
fn paths_variables_and_further_imports_are_in_place() {
    attached(|py| {
        let extra = Scratch::new("extra_of_rwsgi.py", "loaded = True");
        let code = "import os\nvalue = os.environ['RWSGI_TEST_VARIABLE']\n".to_owned()
            + "def app(e, s):\n import sys\n s('200 OK', [])\n"
            + " return [(value + str('extra_of_rwsgi' in sys.modules) + str(sys.path[0] == os.getcwd())).encode()]\n";
        let surroundings = Scratch::new("surroundings.py", &code);
        let mut spec = spec(surroundings.target());
        spec.python_path = vec![extra.folder.path().to_owned()];
        spec.env = vec![("RWSGI_TEST_VARIABLE".into(), "v ".into())];
        spec.imports = vec!["extra_of_rwsgi".into()];
        let app = App::load(py, &spec).unwrap();
        assert_eq!(Ask::get("/").send(py, &app).body(), "v TrueTrue");
    });
}

#[test]
fn the_warm_up_runs_requests_and_returns_their_status() {
    attached(|py| {
        let app = load(py, r"
def app(environ, start_response):
    if environ['PATH_INFO'] == '/fail':
        raise ValueError
    assert environ['wsgi.url_scheme'] == 'https' and environ['HTTP_HOST'] == 'site.example' or environ['HTTP_HOST'] == 'localhost'
    start_response('404 No' if environ['QUERY_STRING'] else '200 OK', [])
    return [b'one', b'two']
").unwrap();
        let urls = ["/", "/a?b", "/fail", "https://site.example/x"].map(str::to_owned);
        let statuses = [Some(200), Some(404), None, Some(200)];
        let warmed = app.warm_up(py, &urls);
        let found = |warmed: &Warmed| (warmed.url.clone(), warmed.status);
        let expected: Vec<_> = urls.iter().cloned().zip(statuses).collect();
        assert_eq!(warmed.iter().map(found).collect::<Vec<_>>(), expected);
        let why = warmed[2].why_not().unwrap();
        assert!(why.starts_with("Traceback"), "{why}");
        assert!(why.ends_with("\n--warmup /fail: ValueError"), "{why}");
        let others = [&warmed[0], &warmed[1], &warmed[3]];
        assert!(others.iter().all(|warmed| warmed.why_not().is_none()));
    });
}

#[test]
fn the_audit_finds_threads_and_connections() {
    attached(|py| {
        let (module, name) = module(
            py,
            r"
import socket, threading
inside = socket.socketpair()
def app(environ, start_response): pass
def begin():
    global client, listener, server, thread, leave
    listener = socket.create_server(('127.0.0.1', 0))
    client = socket.create_connection(listener.getsockname())
    server, _ = listener.accept()
    leave = threading.Event()
    thread = threading.Thread(target=leave.wait, name='busy')
    thread.start()
def end():
    leave.set()
    thread.join()
    client.close(); server.close(); listener.close()
",
        );
        let app = App::load(
            py,
            &spec(Target::Module {
                module: name,
                callable: None,
            }),
        )
        .unwrap();
        let is_busy = |reason: &String| reason.contains("'busy'");
        assert!(!app.audit(py).reasons.iter().any(is_busy));
        module.call_method0("begin").unwrap();
        let port: u16 = py_eval(&module, "listener.getsockname()[1]");
        let audit = app.audit(py);
        module.call_method0("end").unwrap();
        let place = format!("127.0.0.1 port {port}");
        let is_mine = |reason: &&String| reason.contains(&place) || is_busy(reason);
        // The application listens, has connected to itself, and has started a thread.
        assert_eq!(audit.reasons.iter().filter(is_mine).count(), 3, "{audit:?}");
        let pairs = audit
            .reasons
            .iter()
            .filter(|reason| reason.contains("connected to ''"))
            .count();
        assert_eq!(pairs, 0, "{audit:?}");
    });
}

fn py_eval(module: &Bound<'_, PyModule>, code: &str) -> u16 {
    let code = std::ffi::CString::new(code).unwrap();
    module
        .py()
        .eval(&code, Some(&module.dict()), None)
        .unwrap()
        .extract()
        .unwrap()
}

#[test]
fn handlers_of_the_servers_signals_are_ignored_but_not_in_processes_that_the_application_forks() {
    attached(|py| {
        let app = load(
            py,
            r"
import os, signal, threading
def app(environ, start_response):
    former = signal.getsignal(signal.SIGUSR2)
    try:
        assert signal.signal(signal.SIGUSR2, signal.SIG_IGN) == former
    except ValueError:
        assert threading.get_ident() != threading.main_thread().ident
    assert signal.getsignal(signal.SIGUSR2) == former
    child = os.fork()
    if child == 0:
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)
        os._exit(signal.getsignal(signal.SIGUSR2) == signal.SIG_IGN)
    start_response('200 OK', [])
    return [b'%d' % os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])]
",
        )
        .unwrap();
        assert_eq!(
            Ask::get("/").send(py, &app).parts_as_text(),
            ["200 1 Complete"]
        );
    });
}

#[test]
fn freezing_leaves_a_working_application() {
    attached(|py| {
        let app = load(py, &saying("app", "fine")).unwrap();
        app.freeze(py);
        assert_eq!(Ask::get("/").send(py, &app).body(), "fine");
    });
}

#[test]
fn our_own_modules_have_no_file_that_is_looked_for() {
    attached(|py| {
        let app = load(py, r#"
import os, sys
def app(environ, start_response):
    start_response('200 OK', [])
    ours = [module for name, module in sys.modules.items() if name.startswith('_rwsgi_') and name != '_rwsgi_application']
    files = [getattr(module, name, None) for module in ours for name in ('__file__', '__cached__')]
    code = [f.__code__.co_filename for module in ours for f in vars(module).values() if type(f) is type(app) and f.__module__ == module.__name__]
    assert len(ours) > 3 and code, ours
    # As of code without a file: coverage, linecache and inspect leave it alone.
    assert all(name.startswith('<rwsgi ') and name.endswith('>') for name in code), code
    return [repr([file for file in files if file is not None]).encode()]
"#).unwrap();
        // The audit and what else is executed later.
        let _ = app.audit(py);
        let body = Ask::get("/").send(py, &app).body();
        assert_eq!(body, "[]");
    });
}
