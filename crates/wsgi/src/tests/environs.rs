//! The environ of requests.

use std::collections::BTreeMap;
use std::io::{Read, Seek, Write};

use crate::{App, Target};
use exchange::Version;
use pyo3::prelude::*;

use super::support::{Ask, attached, module, spec};

const SHOWING: &str = r"
seen = {}
def app(environ, start_response):
    seen.clear()
    seen.update({key: value if isinstance(value, str) else repr(value) for key, value in environ.items()})
    seen['body'] = environ['wsgi.input'].read().decode('latin-1')
    start_response('200 OK', [])
    return []
";

/// The environ that the application got, as text; empty when it was not called.
fn seen_below(script_name: &str, ask: Ask) -> BTreeMap<String, String> {
    attached(|py| {
        let (module, name) = module(py, SHOWING);
        let mut spec = spec(Target::Module {
            module: name,
            callable: None,
        });
        spec.script_name = script_name.to_owned();
        let app = App::load(py, &spec).unwrap();
        let answer = ask.send(py, &app);
        let seen: BTreeMap<_, _> = module.getattr("seen").unwrap().extract().unwrap();
        assert_eq!(
            answer.parts[0].status,
            Some(if seen.is_empty() { 404 } else { 200 })
        );
        seen
    })
}

fn seen(ask: Ask) -> BTreeMap<String, String> {
    seen_below("", ask)
}

#[test]
fn the_environ_is_complete() {
    let mut seen = seen(Ask {
        method: "POST",
        query: "a=%20&b",
        headers: vec![
            ("host", b"site.example:8000"),
            ("content-type", b"text/plain"),
            ("content-length", b"4"),
            ("x-one", b"1"),
        ],
        body: b"body".to_vec(),
        ..Ask::get("/some%20where")
    });
    assert!(
        seen.remove("SERVER_SOFTWARE")
            .unwrap()
            .starts_with("rwsgi/")
    );
    assert!(seen.remove("wsgi.input").unwrap().contains("BytesIO"));
    assert!(seen.remove("wsgi.errors").unwrap().contains("stderr"));
    assert!(
        seen.remove("wsgi.file_wrapper")
            .unwrap()
            .contains("FileWrapper")
    );
    let expected = [
        ("CONTENT_LENGTH", "4"),
        ("CONTENT_TYPE", "text/plain"),
        ("GATEWAY_INTERFACE", "CGI/1.1"),
        ("HTTP_HOST", "site.example:8000"),
        ("HTTP_X_ONE", "1"),
        ("PATH_INFO", "/some where"),
        ("QUERY_STRING", "a=%20&b"),
        ("RAW_URI", "/some%20where?a=%20&b"),
        ("REMOTE_ADDR", "192.0.2.7"),
        ("REMOTE_PORT", "50123"),
        ("REQUEST_METHOD", "POST"),
        ("REQUEST_URI", "/some%20where?a=%20&b"),
        ("SCRIPT_NAME", ""),
        ("SERVER_NAME", "site.example"),
        ("SERVER_PORT", "8000"),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
        ("body", "body"),
        ("wsgi.input_terminated", "True"),
        ("wsgi.multiprocess", "True"),
        ("wsgi.multithread", "False"),
        ("wsgi.run_once", "False"),
        ("wsgi.url_scheme", "http"),
        ("wsgi.version", "(1, 0)"),
    ];
    assert_eq!(
        seen,
        expected
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into()
    );
}

#[test]
fn an_environ_has_nothing_of_the_former_request() {
    attached(|py| {
        let (module, name) = module(py, SHOWING);
        let app = App::load(
            py,
            &spec(Target::Module {
                module: name,
                callable: None,
            }),
        )
        .unwrap();
        let rich = Ask {
            method: "PUT",
            query: "q",
            https: true,
            version: Version::Http10,
            body: b"b".to_vec(),
            ..Ask::get("/x")
        };
        rich.send(py, &app);
        Ask {
            headers: Vec::new(),
            remote: ("", 0),
            ..Ask::get("/")
        }
        .send(py, &app);
        let seen: BTreeMap<String, String> = module.getattr("seen").unwrap().extract().unwrap();
        for (key, value) in [
            ("REQUEST_METHOD", Some("GET")),
            ("QUERY_STRING", Some("")),
            ("PATH_INFO", Some("/")),
            ("SERVER_PROTOCOL", Some("HTTP/1.1")),
            ("wsgi.url_scheme", Some("http")),
            ("REMOTE_ADDR", Some("")),
            ("REMOTE_PORT", Some("")),
            ("HTTPS", None),
            ("CONTENT_LENGTH", None),
            ("CONTENT_TYPE", None),
            ("HTTP_HOST", None),
            ("body", Some("")),
        ] {
            assert_eq!(seen.get(key).map(String::as_str), value, "{key}");
        }
    });
}

#[test]
fn bytes_become_characters_one_by_one() {
    let seen = seen(Ask {
        headers: vec![("x-name", b"gr\xfc\xc3\xbc")],
        ..Ask::get("/%C3%A4%2F%e2")
    });
    assert_eq!(seen["PATH_INFO"], "/\u{c3}\u{a4}/\u{e2}");
    assert_eq!(seen["HTTP_X_NAME"], "gr\u{fc}\u{c3}\u{bc}");
}

#[test]
fn repeated_fields_are_joined_and_dangerous_ones_dropped() {
    let seen = seen(Ask {
        headers: vec![
            ("accept", b"a"),
            ("cookie", b"a=1"),
            ("x-mine", b"1"),
            ("accept", b"b"),
            ("cookie", b"b=2"),
            ("x-mine", b"\xfc"),
            ("proxy", b"http://evil.example"),
            ("x_mine", b"forged"),
            ("transfer-encoding", b"chunked"),
        ],
        ..Ask::get("/")
    });
    assert_eq!(
        (&*seen["HTTP_ACCEPT"], &*seen["HTTP_COOKIE"]),
        ("a,b", "a=1; b=2")
    );
    assert_eq!(seen["HTTP_X_MINE"], "1,\u{fc}");
    assert!(!seen.contains_key("HTTP_PROXY"));
    assert!(!seen.contains_key("HTTP_TRANSFER_ENCODING"));
    assert_eq!(seen["CONTENT_LENGTH"], "0");
}

#[test]
fn repeated_fields_with_names_that_are_not_kept_are_joined_too() {
    attached(|py| {
        let (module, name) = module(py, SHOWING);
        let app = App::load(
            py,
            &spec(Target::Module {
                module: name,
                callable: None,
            }),
        )
        .unwrap();
        for number in 0..300 {
            let name: &'static str = format!("x-invented-{number}").leak();
            Ask {
                headers: vec![(name, b"1"), (name, b"2")],
                ..Ask::get("/")
            }
            .send(py, &app);
            let seen: BTreeMap<String, String> = module.getattr("seen").unwrap().extract().unwrap();
            assert_eq!(seen[&format!("HTTP_X_INVENTED_{number}")], "1,2");
        }
    });
}

#[test]
fn the_mount_point_is_split_off_and_paths_outside_are_not_found() {
    for (mount, path, expected) in [
        ("/shop", "/shop", Some(("/shop", ""))),
        ("/shop", "/shop/", Some(("/shop", "/"))),
        ("/shop/", "/shop/a%20b", Some(("/shop", "/a b"))),
        ("/shop", "/%73hop/a", Some(("/shop", "/a"))),
        (
            "/sh\u{f6}p",
            "/sh%C3%B6p/a",
            Some(("/sh\u{c3}\u{b6}p", "/a")),
        ),
        ("/shop", "/shopping", None),
        ("/shop", "/", None),
    ] {
        let seen = seen_below(mount, Ask::get(path));
        let split = seen
            .get("SCRIPT_NAME")
            .map(|script_name| (&**script_name, &*seen["PATH_INFO"]));
        assert_eq!(split, expected, "{mount} {path}");
        assert!(seen.get("REQUEST_URI").is_none_or(|uri| uri == path));
    }
}

#[test]
fn protocol_and_scheme_are_in_the_environ() {
    let seen = seen(Ask {
        version: Version::Http10,
        https: true,
        ..Ask::get("/")
    });
    assert_eq!(
        (
            &*seen["SERVER_PROTOCOL"],
            &*seen["wsgi.url_scheme"],
            &*seen["HTTPS"]
        ),
        ("HTTP/1.0", "https", "on")
    );
}

#[test]
fn a_body_in_a_file_is_read_from_its_start_and_closed_afterwards() {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"from a file").unwrap();
    let ours = file.try_clone().unwrap();
    let seen = seen(Ask {
        file: Some((file.into(), 11)),
        ..Ask::get("/")
    });
    assert_eq!(
        (&*seen["body"], &*seen["CONTENT_LENGTH"]),
        ("from a file", "11")
    );
    assert!(seen["wsgi.input"].contains("BufferedReader"));
    let mut ours = ours;
    ours.rewind().unwrap();
    let mut text = String::new();
    ours.read_to_string(&mut text).unwrap();
    assert_eq!(text, "from a file");
}

/// Consecutive requests of one connection, each of which differs from the one before.
fn of_one_connection() -> Vec<fn() -> Ask> {
    fn with(headers: &[(&'static str, &'static [u8])]) -> Ask {
        Ask {
            headers: headers.to_vec(),
            ..Ask::get("/a")
        }
    }
    let usual: fn() -> Ask = || with(&[("Host", b"a"), ("Cookie", b"s=1"), ("Accept", b"*/*")]);
    let mut asks = vec![usual, usual, usual];
    let others: [fn() -> Ask; 14] = [
        || with(&[("Host", b"a"), ("Cookie", b"s=2"), ("Accept", b"*/*")]),
        || with(&[("Host", b"a"), ("Cookie", b"s=12"), ("Accept", b"*/*")]),
        || with(&[("Host", b"a"), ("Cookie", b"s= "), ("Accept", b"*/*")]),
        || with(&[("Host", b"a"), ("Cookie", b"\xe41"), ("Accept", b"a/b")]),
        || with(&[("Host", b"a"), ("Cookie", b"1"), ("Cookie", b"2")]),
        || with(&[("Host", b"a"), ("X-Key", b"1"), ("X_Key", b"2")]),
        || with(&[("Host", b"a"), ("X-Key", b"2"), ("X_Key", b"3")]),
        || with(&[("host", b"a"), ("cookie", b"s=1"), ("accept", b"*/*")]),
        || with(&[("Host", b"a"), ("Content-Length", b"0")]),
        || with(&[("Host", b"a"), ("Authorization", b"Basic eA==")]),
        || with(&[]),
        || Ask {
            authority: "b",
            query: "q=1",
            ..with(&[("Host", b"a")])
        },
        || Ask {
            version: Version::Http10,
            method: "POST",
            body: b"body".to_vec(),
            ..with(&[("Host", b"a")])
        },
        || Ask {
            https: true,
            ..Ask::get("/%41")
        },
    ];
    for other in others {
        asks.extend([other, other, other, usual]);
    }
    asks
}

#[test]
fn cached_environs_equal_new_ones() {
    let asks = of_one_connection();
    let alone: Vec<_> = asks.iter().map(|ask| seen(ask())).collect();
    attached(|py| {
        let (module, name) = module(py, SHOWING);
        let target = Target::Module {
            module: name,
            callable: None,
        };
        let app = App::load(py, &spec(target)).unwrap();
        for (ask, alone) in asks.iter().zip(alone) {
            ask().send(py, &app);
            let seen: BTreeMap<String, String> = module.getattr("seen").unwrap().extract().unwrap();
            // These objects are made anew for each request.
            let comparable = |seen: BTreeMap<String, String>| -> Vec<(String, String)> {
                let objects = ["wsgi.input", "wsgi.errors", "wsgi.file_wrapper"];
                let differ = |key: &String| objects.contains(&key.as_str());
                seen.into_iter().filter(|(key, _)| !differ(key)).collect()
            };
            assert_eq!(comparable(seen), comparable(alone));
        }
    });
}

#[test]
fn changes_to_an_environ_do_not_reach_the_next() {
    let code = r"
seen = []
def app(environ, start_response):
    seen.append((environ.get('HTTP_ACCEPT'), environ.get('HTTP_COOKIE'), 'mine' in environ))
    environ['mine'] = 1
    environ['HTTP_ACCEPT'] = 'changed'
    del environ['HTTP_COOKIE']
    start_response('200 OK', [])
    return []
";
    let seen: Vec<(String, String, bool)> = attached(|py| {
        let (module, name) = module(py, code);
        let target = Target::Module {
            module: name,
            callable: None,
        };
        let app = App::load(py, &spec(target)).unwrap();
        for _ in 0..4 {
            let headers = vec![("Accept", &b"*/*"[..]), ("Cookie", b"s=1")];
            let ask = Ask {
                headers,
                ..Ask::get("/")
            };
            ask.send(py, &app);
        }
        module.getattr("seen").unwrap().extract().unwrap()
    });
    assert_eq!(seen, vec![("*/*".to_owned(), "s=1".to_owned(), false); 4]);
}
