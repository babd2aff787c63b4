//! The interpreter across forks and at its end, in a process of its own, since both affect other threads.
#![cfg(feature = "embed")]

use std::path::Path;

use pyo3::prelude::*;
use rwsgi_wsgi::{Interpreter, Start, StartError, Waits, after_fork_parent, before_fork, leave};

#[test]
fn a_wrong_python_is_refused_and_the_right_one_started_adopted_forked_and_left() {
    let missing = Interpreter::start(&Start {
        python: Some("/nowhere/python".into()),
    });
    assert!(
        matches!(missing, Err(StartError::NotThere(_))),
        "{missing:?}"
    );
    let foreign = Interpreter::start(&Start {
        python: Some("/usr/bin/env".into()),
    });
    assert!(
        matches!(foreign, Err(StartError::Foreign { .. })),
        "{foreign:?}"
    );
    assert!(!Interpreter::is_running());
    let started = Interpreter::start(&Start::default()).unwrap();
    assert!(Interpreter::is_running());
    let (major, minor) = started.version();
    assert!(
        started.about().starts_with(&format!("{major}.{minor}.")),
        "{started:?}"
    );
    let adopted = Interpreter::adopt(None).unwrap();
    assert_eq!(adopted, started);
    let elsewhere = Interpreter::adopt(Some(Path::new("/usr/bin/env")));
    assert!(
        matches!(elsewhere, Err(StartError::Foreign { .. })),
        "{elsewhere:?}"
    );

    Python::attach(|py| {
        before_fork(py);
        after_fork_parent(py);
        let code = c"
import atexit, os, sys
read, write = os.pipe()
atexit.register(lambda: os.write(write, b'left'))
";
        let module = PyModule::from_code(py, code, c"leaving", c"leaving").unwrap();
        leave(py, Waits::ForThreads);
        let read: i32 = module.getattr("read").unwrap().extract().unwrap();
        let said: Vec<u8> = py
            .import("os")
            .unwrap()
            .call_method1("read", (read, 10))
            .unwrap()
            .extract()
            .unwrap();
        assert_eq!(said, b"left");
        // Python's threading module took this thread for the main one.
        let threading = py.import("threading").unwrap();
        let main = threading.call_method0("main_thread").unwrap();
        assert!(main.is(threading.call_method0("current_thread").unwrap()));
    });
}
