//! The parts that are sent for what an application does.

use super::support::{Ask, Recorder, attached, load, module, tracebacks};
use exchange::After;
use pyo3::prelude::*;

/// Sends `GET /` to the application that `code` defines.
fn get(code: &str) -> Recorder {
    attached(|py| Ask::get("/").send(py, &load(py, code).unwrap()))
}

#[test]
fn a_list_of_one_goes_out_as_one_part_with_its_length() {
    for body in ["[b'hello']", "(b'hello',)"] {
        let answer = get(&format!(
            "def app(environ, start_response):\n start_response('200 Fine', [('X-A', 'b')])\n return {body}"
        ));
        assert_eq!(answer.parts_as_text(), ["200 hello Complete"]);
        assert_eq!(answer.reason, "Fine");
        assert_eq!(
            answer.headers,
            [
                ("X-A".into(), "b".into()),
                ("Content-Length".into(), "5".into())
            ]
        );
    }
}

#[test]
fn an_empty_body_has_length_0() {
    for body in ["[]", "[b'']", "[b'', b'']", "iter(())", "b''"] {
        let answer = get(&format!("def app(e, s):\n s('200 OK', [])\n return {body}"));
        assert_eq!(answer.parts_as_text(), ["200  Complete"], "{body}");
        assert_eq!(answer.header("Content-Length"), Some("0"), "{body}");
    }
}

#[test]
fn each_chunk_is_sent_when_it_is_yielded_and_the_head_with_the_first_nonempty_one() {
    let answer = get(r"
def app(environ, start_response):
    yield b''
    start_response('200 OK', [])
    yield b''
    yield b'one'
    yield b''
    yield b'two'
");
    assert_eq!(
        answer.parts_as_text(),
        ["200 one More", "two More", " Complete"]
    );
    assert_eq!(answer.headers, []);
}

#[test]
fn a_body_that_fills_its_length_is_complete_with_its_last_byte() {
    let answer = get(
        "def app(e, s):\n s('200 OK', [('content-length', '6')])\n return iter([b'one', b'two'])",
    );
    assert_eq!(answer.parts_as_text(), ["200 one More", "two Complete"]);
    assert_eq!(answer.header("Content-Length"), Some("6"));
}

#[test]
fn a_body_longer_than_its_length_is_cut() {
    let answer = get(
        "def app(e, s):\n s('200 OK', [('Content-Length', '4')])\n return [b'one', b'two', b'three']",
    );
    assert_eq!(answer.parts_as_text(), ["200 one More", "t Complete"]);
    let answer =
        get("def app(e, s):\n s('200 OK', [('Content-Length', '4')])\n return [b'onetwo']");
    assert_eq!(answer.parts_as_text(), ["200 onet Complete"]);
}

#[test]
fn a_body_shorter_than_its_length_is_broken_off() {
    let answer = get("def app(e, s):\n s('200 OK', [('Content-Length', '9')])\n return [b'one']");
    assert_eq!(answer.parts_as_text(), ["200 one More", " Broken"]);
    let answer = get("def app(e, s):\n s('200 OK', [('Content-Length', '9')])\n return []");
    assert_eq!(answer.parts_as_text(), [" Broken"]);
}

#[test]
fn answers_to_head_and_statuses_without_a_body_send_none() {
    attached(|py| {
        let app = load(
            py,
            "def app(e, s):\n s(e['QUERY_STRING'].replace('+', ' '), [])\n return [b'body']",
        )
        .unwrap();
        for (method, status, length) in [
            ("HEAD", "200+OK", Some("4")),
            ("GET", "204+No", None),
            ("GET", "205+Reset", Some("0")),
            ("GET", "304+Not", None),
            ("HEAD", "304+Not", None),
        ] {
            let answer = Ask {
                method,
                query: status,
                ..Ask::get("/")
            }
            .send(py, &app);
            assert_eq!(
                answer.parts_as_text(),
                [format!("{}  Complete", &status[..3])]
            );
            assert_eq!(answer.header("Content-Length"), length, "{method} {status}");
        }
        let app = load(
            py,
            "def app(e, s):\n s('200 OK', [('Content-Length', '9')])\n return []",
        )
        .unwrap();
        let answer = Ask {
            method: "HEAD",
            ..Ask::get("/")
        }
        .send(py, &app);
        assert_eq!(
            (answer.parts_as_text(), answer.header("Content-Length")),
            (vec!["200  Complete".into()], Some("9"))
        );
        let app = load(py, "def app(e, s):\n s('200 OK', [])\n return [b'']").unwrap();
        let answer = Ask {
            method: "HEAD",
            ..Ask::get("/")
        }
        .send(py, &app);
        assert_eq!(answer.header("Content-Length"), None);
    });
}

#[test]
fn an_application_that_fails_with_nothing_sent_is_broken_off_without_a_head() {
    for failing in [
        "def app(e, s):\n raise ValueError('x')",
        "def app(e, s):\n raise SystemExit(3)",
        "def app(e, s):\n raise KeyboardInterrupt",
        "def app(e, s):\n return [b'no head']",
        "def app(e, s):\n return []",
        "def app(e, s):\n s('200 OK', [])",
        "def app(e, s):\n s('200 OK', [])\n return ['text']",
        "def app(e, s):\n s('200 OK', [])\n return 'text'",
        "def app(e, s):\n s('200 OK', [])\n return [bytearray(b'x')]",
        "def app(e, s):\n s('200 OK', [])\n s('200 OK', [])\n return []",
        "def app(e, s):\n s('200 OK', [])\n raise ValueError('x')",
        "def app(*e):\n return (lambda one: [])(*e)",
    ] {
        assert_eq!(get(failing).parts_as_text(), [" Broken"], "{failing}");
    }
}

#[test]
fn the_traceback_of_a_failure_is_logged_from_the_application_on() {
    attached(|py| {
        let app = load(
            py,
            "def app(e, s):\n help()\ndef help():\n raise ValueError('mine \\udcff')",
        )
        .unwrap();
        let logged = tracebacks(|| {
            Ask::get("/").send(py, &app);
        });
        let [text] = &logged[..] else {
            panic!("{logged:?}")
        };
        assert!(
            text.starts_with("Traceback (most recent call last):\n  File \"case_"),
            "{text}"
        );
        assert!(
            text.contains("in app\n") && text.contains("in help\n"),
            "{text}"
        );
        // Surrogates are escaped, as on Python's standard error.
        assert!(text.contains("\nValueError: mine \\udcff\n"), "{text}");
    });
}

#[test]
fn an_application_that_fails_later_is_broken_off() {
    let answer = get("def app(e, s):\n s('200 OK', [])\n yield b'one'\n raise ValueError('x')");
    assert_eq!(answer.parts_as_text(), ["200 one More", " Broken"]);
}

#[test]
fn write_sends_at_once_and_the_body_follows() {
    let answer = get(
        "def app(e, s):\n write = s('200 OK', [])\n write(b'one')\n write(b'')\n write(b'two')\n return [b'three']",
    );
    assert_eq!(
        answer.parts_as_text(),
        ["200 one More", "two More", "three More", " Complete"]
    );
}

#[test]
fn an_error_before_the_head_is_sent_replaces_it() {
    let answer = get(r"
import sys
def app(environ, start_response):
    start_response('200 OK', [('X-Former', '1')])
    try:
        raise ValueError
    except ValueError:
        start_response('500 Sorry', [], sys.exc_info())
    return [b'sorry']
");
    assert_eq!(answer.parts_as_text(), ["500 sorry Complete"]);
    assert_eq!(answer.header("X-Former"), None);
}

#[test]
fn an_error_after_the_head_was_sent_is_raised_again() {
    let (answer, raised) = attached(|py| {
        let (module, _) = module(py, "raised = []");
        let app = load(
            py,
            &format!(
                r"
import sys, {0}
def app(environ, start_response):
    start_response('200 OK', [])
    yield b'one'
    try:
        raise ValueError('mine')
    except ValueError:
        try:
            start_response('500 Sorry', [], sys.exc_info())
        except BaseException as error:
            {0}.raised.append(repr(error))
            raise
",
                module.name().unwrap()
            ),
        );
        let answer = Ask::get("/").send(py, &app.unwrap());
        (
            answer,
            module
                .getattr("raised")
                .unwrap()
                .extract::<Vec<String>>()
                .unwrap(),
        )
    });
    assert_eq!(answer.parts_as_text(), ["200 one More", " Broken"]);
    assert_eq!(raised, ["ValueError('mine')"]);
}

/// A body that logs the calls of its methods in the module's list `events`.
const COUNTING: &str = r"
events = []
class Body:
    def __init__(self, items): self.items = iter(items)
    def __iter__(self): return self
    def __next__(self):
        events.append('next')
        item = next(self.items)
        if isinstance(item, BaseException): raise item
        return item
    def close(self):
        events.append('close')
def app(environ, start_response):
    start_response('200 OK', [('Content-Length', '3')] if environ['QUERY_STRING'] else [])
    return Body([b'one', ValueError()] if environ['PATH_INFO'] == '/fail' else [b'one', b'two', b'six'])
";

fn events(py: Python<'_>, ask: Ask, reply: &mut Recorder) -> Vec<String> {
    let (module, name) = module(py, COUNTING);
    let target = crate::Target::Module {
        module: name,
        callable: None,
    };
    let app = crate::App::load(py, &super::support::spec(target)).unwrap();
    ask.send_to(py, &app, reply);
    module.getattr("events").unwrap().extract().unwrap()
}

#[test]
fn close_is_called_once_whatever_happens() {
    attached(|py| {
        let mut answer = Recorder::default();
        assert_eq!(
            events(py, Ask::get("/"), &mut answer),
            ["next", "next", "next", "next", "close"]
        );
        assert_eq!(answer.body(), "onetwosix");

        let mut answer = Recorder::default();
        assert_eq!(
            events(py, Ask::get("/fail"), &mut answer),
            ["next", "next", "close"]
        );
        assert_eq!(answer.parts_as_text(), ["200 one More", " Broken"]);
    });
}

#[test]
fn when_the_client_has_gone_iteration_stops_and_close_is_called() {
    attached(|py| {
        let mut answer = Recorder {
            patience: 1,
            ..Recorder::default()
        };
        assert_eq!(
            events(py, Ask::get("/"), &mut answer),
            ["next", "next", "close"]
        );
        assert_eq!(answer.parts_as_text(), ["200 one More"]);
    });
}

#[test]
fn iteration_stops_once_the_answer_is_complete() {
    attached(|py| {
        let mut answer = Recorder::default();
        assert_eq!(
            events(
                py,
                Ask {
                    query: "length",
                    ..Ask::get("/")
                },
                &mut answer
            ),
            ["next", "close"]
        );
        let mut answer = Recorder::default();
        assert_eq!(
            events(
                py,
                Ask {
                    method: "HEAD",
                    ..Ask::get("/")
                },
                &mut answer
            ),
            ["next", "close"]
        );
    });
}

#[test]
fn an_error_in_close_does_not_change_a_complete_answer() {
    let answer = get(r"
class Body:
    def __iter__(self): return iter([b'one'])
    def close(self): raise ValueError
def app(environ, start_response):
    start_response('200 OK', [])
    return Body()
");
    assert_eq!(answer.parts_as_text(), ["200 one More", " Complete"]);
}

#[test]
fn write_raises_when_the_client_has_gone() {
    let raised = attached(|py| {
        let (module, name) = module(
            py,
            r"
raised = []
def app(environ, start_response):
    write = start_response('200 OK', [])
    try:
        write(b'one')
    except OSError as error:
        raised.append(type(error).__name__)
        raise
",
        );
        let target = crate::Target::Module {
            module: name,
            callable: None,
        };
        let app = crate::App::load(py, &super::support::spec(target)).unwrap();
        let mut answer = Recorder {
            patience: 0,
            ..Recorder::default()
        };
        Ask::get("/").send_to(py, &app, &mut answer);
        module
            .getattr("raised")
            .unwrap()
            .extract::<Vec<String>>()
            .unwrap()
    });
    assert_eq!(raised, ["BrokenPipeError"]);
}

#[test]
fn a_kept_start_response_cannot_answer_the_next_request() {
    attached(|py| {
        let app = load(
            py,
            r"
kept = []
def app(environ, start_response):
    refused = 0
    for former in kept:
        for call in (lambda: former('500 Mixed', []), lambda: writes[0](b'mixed')):
            try:
                call()
            except RuntimeError:
                refused += 1
    kept.append(start_response)
    writes.append(start_response('200 OK', []))
    return [b'%d' % refused]
writes = []
",
        )
        .unwrap();
        assert_eq!(
            Ask::get("/").send(py, &app).parts_as_text(),
            ["200 0 Complete"]
        );
        assert_eq!(
            Ask::get("/").send(py, &app).parts_as_text(),
            ["200 2 Complete"]
        );
    });
}

#[test]
fn the_interpreter_is_released_while_a_part_has_to_wait() {
    attached(|py| {
        let app = load(
            py,
            "def app(e, s):\n s('200 OK', [])(b'one')\n return [b'two', b'six']",
        )
        .unwrap();
        let mut answer = Recorder {
            roomy: false,
            ..Recorder::default()
        };
        Ask::get("/").send_to(py, &app, &mut answer);
        assert_eq!(
            answer.parts_as_text(),
            ["200 one More", "two More", "six More", " Complete"]
        );
    });
}

#[test]
fn threads_answer_at_the_same_time() {
    let app = attached(|py| {
        load(
            py,
            r"
import threading
meeting = threading.Barrier(2, timeout=20)
def app(environ, start_response):
    meeting.wait()
    start_response('200 OK', [])
    return [environ['PATH_INFO'].encode()]
",
        )
        .unwrap()
    });
    let answer = |path| Python::attach(|py| Ask::get(path).send(py, &app).parts_as_text());
    std::thread::scope(|scope| {
        let other = std::thread::Builder::new()
            .spawn_scoped(scope, || answer("/a"))
            .unwrap();
        assert_eq!(answer("/b"), ["200 /b Complete"]);
        assert_eq!(other.join().unwrap(), ["200 /a Complete"]);
    });
}

#[test]
fn the_validator_of_the_standard_library_finds_nothing() {
    attached(|py| {
        let app = load(
            py,
            r"
from wsgiref.validate import validator
@validator
def app(environ, start_response):
    body = environ['wsgi.input'].read(int(environ.get('CONTENT_LENGTH') or 0))
    start_response('200 OK', [('Content-Type', 'text/plain'), ('Content-Length', str(len(body)))])
    return [body]
",
        )
        .unwrap();
        let answer = Ask {
            method: "POST",
            query: "a=b",
            headers: vec![("content-type", b"text/plain"), ("content-length", b"4")],
            body: b"body".to_vec(),
            ..Ask::get("/path")
        }
        .send(py, &app);
        assert_eq!(answer.parts_as_text(), ["200 body Complete"]);
        assert_eq!(
            answer.parts.last().map(|part| part.after),
            Some(After::Complete)
        );
    });
}
