use proptest::prelude::*;

use super::parser::Good;
use super::*;

const LIMITS: Limits = Limits {
    line: 100,
    fields: 5,
    field: 60,
    head: 300,
};

/// Reads the pieces one after the other, as a connection does. Returns what was passed on, and the fault.
fn read(pieces: &[&[u8]]) -> (Vec<u8>, Option<Fault>) {
    let mut parser = Parser::new(LIMITS);
    let (mut waiting, mut handed_on) = (Vec::new(), Vec::new());
    for piece in pieces {
        waiting.extend_from_slice(piece);
        while !waiting.is_empty() {
            let good = next(&mut parser, &waiting);
            handed_on.extend(waiting.drain(..good.bytes));
            match good {
                Good {
                    fault: None,
                    bytes: 1..,
                } => {}
                Good { fault: None, .. } => break,
                Good { fault, .. } => return (handed_on, fault),
            }
        }
    }
    (handed_on, None)
}

/// Reads one element: a head, or the available part of a body.
fn next(parser: &mut Parser, bytes: &[u8]) -> Good {
    if parser.in_body() {
        return parser.body(bytes, |_| {});
    }
    let (bytes, fault) = match parser.head(bytes) {
        Ok(index) => (index.map_or(0, |index| index.length), None),
        Err(fault) => (0, Some(fault)),
    };
    Good { bytes, fault }
}

fn fault(bytes: &[u8]) -> Option<Fault> {
    read(&[bytes]).1
}

/// Whether hyper accepts a head: httparse, which hyper uses, and hyper's further checks.
fn hyper_accepts(head: &[u8]) -> bool {
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(head) {
        Ok(httparse::Status::Complete(length)) => {
            length == head.len()
                && http::Uri::try_from(request.path.unwrap()).is_ok()
                && http::Method::from_bytes(request.method.unwrap().as_bytes()).is_ok()
                && request.headers.iter().all(|field| {
                    http::HeaderName::from_bytes(field.name.as_bytes()).is_ok()
                        && http::HeaderValue::from_bytes(field.value).is_ok()
                })
        }
        _ => false,
    }
}

#[test]
fn a_head_is_handed_on_when_it_is_whole() {
    let head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    for cut in 0..head.len() {
        assert_eq!(read(&[&head[..cut]]), (Vec::new(), None), "{cut}");
    }
    assert_eq!(read(&[head]), (head.to_vec(), None));
    assert_eq!(
        read(&[b"\r\n\r\n", head]),
        ([b"\r\n\r\n", &head[..]].concat(), None)
    );
}

#[test]
fn ambiguous_heads_are_refused() {
    use Fault::{HeadTooLarge, LineTooLong, Malformed, NotServed, Version};
    let long = "x".repeat(100);
    for (head, expected) in [
        ("GET / HTTP/1.1\nHost: a\r\n\r\n", Malformed),
        ("GET / HTTP/1.1\r\nHost: a\n\r\n", Malformed),
        ("GET / HTTP/1.1\r\nHost: a\r\n\n", Malformed),
        ("\nGET / HTTP/1.1\r\n", Malformed),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", Malformed),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", Malformed),
        ("GET / HTTP/1.1\r\nHost: a\r\nX : b\r\n\r\n", Malformed),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n", Malformed),
        ("GET / HTTP/1.1\r\n Host: a\r\n\r\n", Malformed),
        ("GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n", Malformed),
        ("GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", Malformed),
        ("GET / HTTP/1.1\r\n\r\n", Malformed),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", Malformed),
        ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", Malformed),
        ("GET  / HTTP/1.1\r\n", Malformed),
        ("GET / HTTP/1.1 \r\n", Malformed),
        ("GET /\r\n", Malformed),
        ("GET / http/1.1\r\n", Malformed),
        ("GET / HTTP/1.10\r\n", Malformed),
        ("GET /# HTTP/1.1\r\n", Malformed),
        ("GET * HTTP/1.1\r\n", Malformed),
        ("GET a HTTP/1.1\r\n", Malformed),
        ("GET ftp://a/ HTTP/1.1\r\n", Malformed),
        ("GET http:/// HTTP/1.1\r\n", Malformed),
        ("GET http://u@a/ HTTP/1.1\r\n", Malformed),
        ("G(T / HTTP/1.1\r\n", Malformed),
        ("\u{16}\u{3}", Malformed),
        ("GET / HTTP/1.2\r\n", Version),
        ("PRI * HTTP/2.0\r\n", Version),
        ("CONNECT a:80 HTTP/1.1\r\n", NotServed),
        (&format!("GET /{long} HTTP/1.1\r\n"), LineTooLong),
        (&format!("GET /{long}"), LineTooLong),
        (&format!("GET / HTTP/1.1\r\nX: {long}"), HeadTooLarge),
        (
            &format!("GET / HTTP/1.1\r\n{}", "X: y\r\n".repeat(6)),
            HeadTooLarge,
        ),
    ] {
        assert_eq!(fault(head.as_bytes()), Some(expected), "{head:?}");
    }
}

#[test]
fn a_body_has_one_framing() {
    use Fault::{Malformed, NotServed};
    for (fields, expected) in [
        ("Content-Length: 3", None),
        ("Content-Length: \t3 ", None),
        ("Transfer-Encoding: Chunked", None),
        ("Content-Length: +3", Some(Malformed)),
        ("Content-Length: -3", Some(Malformed)),
        ("Content-Length: 3,3", Some(Malformed)),
        ("Content-Length: 3 3", Some(Malformed)),
        ("Content-Length: 0x3", Some(Malformed)),
        ("Content-Length:", Some(Malformed)),
        ("Content-Length: 99999999999999999999", Some(Malformed)),
        ("Content-Length: 18446744073709551615", Some(Malformed)),
        ("Content-Length: 3\r\nContent-Length: 3", Some(Malformed)),
        (
            "Content-Length: 3\r\nTransfer-Encoding: chunked",
            Some(Malformed),
        ),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            Some(Malformed),
        ),
        ("Transfer-Encoding: chunked, chunked", Some(Malformed)),
        ("Transfer-Encoding: chunked, gzip", Some(Malformed)),
        ("Transfer-Encoding: chunked;q=1", Some(Malformed)),
        ("Transfer-Encoding:", Some(Malformed)),
        ("Transfer-Encoding: gzip", Some(NotServed)),
        ("Transfer-Encoding: gzip, chunked", Some(NotServed)),
        (
            "Transfer-Encoding: gzip\r\nContent-Length: 3",
            Some(Malformed),
        ),
    ] {
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n");
        assert_eq!(fault(head.as_bytes()), expected, "{fields:?}");
    }
    let old = b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(fault(old), Some(Malformed));
}

#[test]
fn chunk_framing_is_strict() {
    let head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let read_fault = |body: &str| fault(&[&head[..], body.as_bytes()].concat());
    for body in [
        "0\r\n\r\n",
        "3\r\nabc\r\n0\r\n\r\n",
        "0000003\r\nabc\r\n0\r\n\r\n",
        "0000000000000003\r\nabc\r\n0\r\n\r\n",
        "A;name=\"value\"\r\n0123456789\r\n0;x\r\n\r\n",
        "0\r\nX: y\r\nZ: w\r\n\r\n",
    ] {
        assert_eq!(
            read_fault(&format!("{body}GET / HTTP/1.1\r\nHost: a\r\n\r\n")),
            None,
            "{body:?}"
        );
    }
    for body in [
        "\r\n",
        ";x\r\n",
        "+3\r\nabc",
        "-3\r\nabc",
        "0x3\r\nabc",
        " 3\r\nabc",
        "3 \r\nabc",
        "3\nabc",
        "3\r\nabcd",
        "3\r\nabc\n",
        "3\r\nabc\rx",
        "g\r\n",
        "3;a\nabc",
        "3;a\rb",
        "3;\0\r\n",
        "10000000000000000\r\n",
        "FFFFFFFFFFFFFFFF\r\n",
        "20000000000001;x\r\n",
        "0\r\nX y\r\n",
        "0\r\n X: y\r\n",
        "0\r\nX: y\n",
        "0\r\nX : y\r\n",
        "0\r\n\n",
    ] {
        assert_eq!(read_fault(body), Some(Fault::Malformed), "{body:?}");
    }
    assert_eq!(
        read_fault(&format!("0\r\n{}", "X: y\r\n".repeat(6))),
        Some(Fault::HeadTooLarge)
    );
    assert_eq!(
        read_fault(&format!("0\r\nX: {}", "y".repeat(80))),
        Some(Fault::HeadTooLarge)
    );
}

#[test]
fn a_second_request_is_judged_by_itself() {
    let good = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
    let bad = b"GET / HTTP/1.1\r\n\r\n";
    assert_eq!(
        read(&[&[&good[..], good, bad].concat()]),
        ([&good[..], good].concat(), Some(Fault::Malformed))
    );
}

/// Reads a head in pieces.
fn index(parser: &mut Parser, head: &[u8], cut: usize) -> Result<Option<HeadIndex>, Fault> {
    match parser.head(&head[..cut])? {
        None => parser.head(head),
        early => Ok(early),
    }
}

#[test]
fn repeated_field_lines_are_read_the_same() {
    let long = format!("GET /{} HTTP/1.1\r\n", "x".repeat(80));
    let fields = [
        "Host: a\r\nX: y\r\n\r\n",
        "Host: b\r\nX: y\r\n\r\n",
        "Host: a\r\nX: y\r\nZ: z\r\n\r\n",
        "Host: a\r\nConnection: close\r\nExpect: 100-continue\r\n\r\n",
        &format!(
            "Host: a\r\n{}\r\n",
            format!("X: {}\r\n", "y".repeat(54)).repeat(4)
        ),
        "X: y\r\n\r\n",
        "\r\n",
    ];
    let lines = [
        "GET / HTTP/1.1\r\n",
        "\r\nGET /a?b HTTP/1.1\r\n",
        "GET / HTTP/1.0\r\n",
        &long,
    ];
    let heads: Vec<String> = fields
        .iter()
        .flat_map(|fields| lines.map(|line| format!("{line}{fields}")))
        .collect();
    for first in &heads {
        for second in &heads {
            for cut in [0, second.len() / 2, second.len()] {
                let mut parser = Parser::new(LIMITS);
                if parser.head(first.as_bytes()).is_err() {
                    continue;
                }
                let again = index(&mut parser, second.as_bytes(), cut);
                let fresh = Parser::new(LIMITS).head(second.as_bytes());
                assert_eq!(again, fresh, "{first:?} {second:?} {cut}");
            }
        }
    }
}

/// Valid and invalid pieces of requests, from which the input is composed.
fn input() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        6 => prop::sample::select(vec![
            "GET / HTTP/1.1\r\n", "POST /a?b HTTP/1.1\r\n", "GET / HTTP/1.0\r\n", "OPTIONS * HTTP/1.1\r\n",
            "GET http://a/ HTTP/1.1\r\n", "Host: a\r\n", "X: y\r\n", "Content-Length: 3\r\n",
            "Transfer-Encoding: chunked\r\n", "\r\n", "\r\n\r\n", "abc", "3\r\n", "0\r\n\r\n", "abc\r\n",
        ]).prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 1..4),
        1 => prop::sample::select(vec![b'\r', b'\n', b' ', b':', b'\t', 0, b';', b',']).prop_map(|byte| vec![byte]),
    ];
    prop::collection::vec(piece, 1..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn splitting_the_bytes_changes_nothing(bytes in input(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6)) {
        let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        places.extend([0, bytes.len()]);
        places.sort_unstable();
        let pieces: Vec<&[u8]> = places.windows(2).map(|ends| &bytes[ends[0]..ends[1]]).collect();
        prop_assert_eq!(read(&pieces), read(&[&bytes]));
    }

    /// Except for `"`, `<`, `>` and `` ` `` in targets, which hyper refuses and Apache and nginx serve.
    #[test]
    fn hyper_accepts_what_the_parser_accepts(
        method in "[!-~]{1,8}", target in "[!#-;=?-_a-~]{0,20}", host in "[!-~]{0,12}", name in "[!-~]{1,8}",
        value in prop::collection::vec(any::<u8>(), 0..12),
    ) {
        for target in [&target, &format!("/{target}"), &format!("http://{target}")] {
            let head = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{name}:");
            let head = [head.as_bytes(), &value, b"\r\n\r\n"].concat();
            let (handed_on, fault) = read(&[&head]);
            if fault.is_none() && handed_on == head {
                prop_assert!(hyper_accepts(&head), "{}", String::from_utf8_lossy(&head));
            }
        }
    }

    #[test]
    fn no_input_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let (handed_on, _) = read(&[&bytes]);
        prop_assert!(bytes.starts_with(&handed_on));
    }
}
