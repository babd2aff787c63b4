//! What `start_response` accepts.

use super::support::{Ask, attached, load};

/// The header fields of an answer by `start_response` with these arguments, or `None` when they were refused.
fn headers(arguments: &str) -> Option<Vec<(String, String)>> {
    let code = format!("class Str(str): pass\ndef app(e, s):\n s({arguments})\n yield b'x'");
    let answer = attached(|py| Ask::get("/").send(py, &load(py, &code).unwrap()));
    match answer.parts_as_text()[..] {
        [ref broken] if broken == " Broken" => None,
        [_, _] => Some(answer.headers),
        ref other => panic!("{arguments}: {other:?}"),
    }
}

#[test]
fn headers_that_could_split_or_falsify_an_answer_are_refused() {
    for arguments in [
        r"'200 OK', [('X', 'a\r\nSet-Cookie: b')]",
        r"'200 OK', [('X', 'a\nb')]",
        r"'200 OK', [('X', 'a\0b')]",
        r"'200 OK', [('X\r\nY', 'a')]",
        r"'200 OK', [('X Y', 'a')]",
        r"'200 OK', [('X:', 'a')]",
        r"'200 OK', [('', 'a')]",
        r"'200 OK', [('X\xe4', 'a')]",
        r"'200 OK', [('X', '\u20ac')]",
        r"'200 OK', [('X', '\ud800')]",
        r"'200 OK\r\nX: y', []",
        r"'200 \u20ac', []",
        r"'OK', []",
        r"'099 Low', []",
        r"'101 Switching Protocols', []",
        r"200, []",
        r"b'200 OK', []",
        r"'200 OK', [('X', 1)]",
        r"'200 OK', [('X', b'a')]",
        r"'200 OK', [(b'X', 'a')]",
        r"'200 OK', [('X',)]",
        r"'200 OK', [('X', 'a', 'b')]",
        r"'200 OK', ['Xa']",
        r"'200 OK', {'X': 'a'}",
        r"'200 OK', None",
        r"'200 OK', (('X', 'a'),)",
        r"'200 OK', iter([('X', 'a')])",
        r"'200 OK', [('Content-Length', 'many')]",
        r"'200 OK', [('Content-Length', '-1')]",
        r"'200 OK', [('Content-Length', '+1')]",
        r"'200 OK', [('Content-Length', '')]",
        r"'200 OK', [('Content-Length', '99999999999999999999')]",
        r"'200 OK', [('Content-Length', '1'), ('Content-Length', '2')]",
    ] {
        assert_eq!(headers(arguments), None, "{arguments}");
    }
}

#[test]
fn headers_are_sent_as_they_were_given() {
    for (arguments, expected) in [
        (r"'200 OK', []", &[][..]),
        (
            r"'200 OK', [('X-a', 'b'), ('X-a', 'c')]",
            &[("X-a", "b"), ("X-a", "c")],
        ),
        (
            r"'200 OK', [('X', 'gr\xfc\xdfe\t!')]",
            &[("X", "gr\u{fc}\u{df}e\t!")],
        ),
        (r"Str('200 OK'), [(Str('X'), Str('a'))]", &[("X", "a")]),
        (r"'200 OK', [('X', '')]", &[("X", "")]),
        (r"'200 OK', [('X', ' a b \t')]", &[("X", "a b")]),
        // What is the connection's is not the application's.
        (
            r"'200 OK', [('Connection', 'close'), ('X', 'a'), ('transfer-encoding', 'chunked')]",
            &[("X", "a")],
        ),
        (r"status='200 OK', headers=[], exc_info=None", &[]),
        (
            r"'200 OK', [('content-length', '1'), ('Content-Length', '1')]",
            &[("Content-Length", "1")],
        ),
    ] {
        let expected = expected
            .iter()
            .map(|&(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        if arguments.contains("length") {
            // The body has one byte, so the answer is complete in one part.
            let code = format!("def app(e, s):\n s({arguments})\n return [b'x']");
            let answer = attached(|py| Ask::get("/").send(py, &load(py, &code).unwrap()));
            assert_eq!(answer.headers, expected, "{arguments}");
        } else {
            assert_eq!(headers(arguments), Some(expected), "{arguments}");
        }
    }
}
