//! Connections in memory, with handlers made for each test.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::watch;

use super::serve;
use crate::config::Settings;
use crate::context::Context;
use crate::http::{Peer, Request, Response};
use crate::testing::{Answers, Way, content, response, settings};

/// Runs `client` against a connection whose requests are handled by `answer`.
fn run<T>(
    settings: Settings,
    answer: impl Fn(Request) -> Response,
    client: impl AsyncFnOnce(DuplexStream) -> T,
) -> T {
    // The clock is paused, and advances when all tasks wait.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let (_say, draining) = watch::channel(false);
    let context = Rc::new(Context::new(settings, |_| Ok(0), None, draining));
    let (ours, theirs) = duplex(16 * 1024);
    let handler = Answers(answer);
    runtime.block_on(async {
        let mut server = pin!(serve(ours, Vec::new(), Peer::unix(), &context, &handler));
        let server = poll_fn(|task| {
            context.clock.advance();
            server.as_mut().poll(task)
        });
        tokio::join!(client(theirs), server).0
    })
}

/// Sends these bytes, and returns all responses without their dates.
fn talk(settings: Settings, sent: &[u8], answer: impl Fn(Request) -> Response) -> String {
    let all = run(settings, answer, async |mut client| {
        client.write_all(sent).await.unwrap();
        let mut all = Vec::new();
        client.read_to_end(&mut all).await.unwrap();
        all
    });
    let text = String::from_utf8(all).unwrap();
    let lines = text.split_inclusive("\r\n");
    lines.filter(|line| !line.starts_with("Date: ")).collect()
}

const FIELDS: &[(&str, &str)] = &[
    ("X-b", "1"),
    ("Set-Cookie", "a"),
    ("content-TYPE", "text/plain"),
    ("Set-Cookie", "b"),
];

#[test]
fn fields_keep_spelling_and_order_in_every_framing() {
    let fields = "X-b: 1\r\nSet-Cookie: a\r\ncontent-TYPE: text/plain\r\nSet-Cookie: b\r\n";
    for (line, way, rest) in [
        (
            "GET / HTTP/1.1",
            Way::Whole,
            "Content-Length: 6\r\n\r\nfirst2",
        ),
        ("HEAD / HTTP/1.1", Way::Whole, "Content-Length: 6\r\n\r\n"),
        (
            "GET / HTTP/1.1",
            Way::File,
            "Content-Length: 6\r\n\r\nfirst2",
        ),
        ("HEAD / HTTP/1.1", Way::File, "Content-Length: 6\r\n\r\n"),
        (
            "GET / HTTP/1.1",
            Way::Streamed,
            "Transfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n1\r\n2\r\n0\r\n\r\n",
        ),
        ("HEAD / HTTP/1.1", Way::Streamed, "\r\n"),
    ] {
        let request = format!("{line}\r\nHost: a\r\n\r\n");
        let answered = talk(settings(), request.as_bytes(), |_| {
            response(200, FIELDS, &[b"first", b"2"], way)
        });
        let expected = format!("HTTP/1.1 200 As It Is\r\n{fields}{rest}");
        assert_eq!(answered, expected, "{line} {way:?}");
    }
}

#[test]
fn a_response_in_http10_ends_with_the_connection_unless_it_is_to_persist() {
    for (field, way, rest) in [
        (
            "",
            Way::Whole,
            "Content-Length: 2\r\nConnection: close\r\n\r\nab",
        ),
        (
            "Connection: keep-alive\r\n",
            Way::Whole,
            "Content-Length: 2\r\nConnection: keep-alive\r\n\r\nab",
        ),
        (
            "Connection: keep-alive\r\n",
            Way::Streamed,
            "Connection: close\r\n\r\nab",
        ),
    ] {
        let request = format!("GET / HTTP/1.0\r\n{field}\r\n");
        let answered = talk(settings(), request.as_bytes(), |_| {
            response(200, &[], &[b"a", b"b"], way)
        });
        assert_eq!(answered, format!("HTTP/1.0 200 As It Is\r\n{rest}"));
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let sent = b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nPOST /2 HTTP/1.1\r\nHost: a\r\n\
        Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x\r\nde\r\n0\r\nT: t\r\n\r\n\
        POST /3 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nConnection: close\r\n\r\nf";
    let answered = talk(settings(), sent, |request| {
        let target = request.head.raw_target();
        let body = content(&request.body);
        response(200, &[], &[target, b" ", &body], Way::Whole)
    });
    let bodies: Vec<&str> = answered
        .split("\r\n\r\n")
        .map(|part| part.split("HTTP/").next().unwrap())
        .collect();
    assert_eq!(bodies, ["", "/1 ", "/2 abcde", "/3 f"]);
    assert_eq!(answered.matches("Connection: close").count(), 1);
}

#[test]
fn a_waiting_body_gets_100_continue() {
    let sent = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\nb";
    let answered = talk(settings(), sent, |_| response(204, &[], &[], Way::Whole));
    assert_eq!(
        answered,
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 As It Is\r\n\r\n"
    );
}

#[test]
fn a_body_that_contradicts_its_length_is_cut_off() {
    for (length, way, body) in [
        ("3", Way::Whole, "abc"),
        ("3", Way::Streamed, "abc"),
        ("3", Way::File, "abc"),
        ("5", Way::Whole, "abcd"),
        ("5", Way::Streamed, "abcd"),
        ("5", Way::File, "abcd"),
    ] {
        let sent = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let answered = talk(settings(), sent, |_| {
            response(200, &[("Content-Length", length)], &[b"ab", b"cd"], way)
        });
        let expected = format!("HTTP/1.1 200 As It Is\r\nContent-Length: {length}\r\n\r\n{body}");
        assert_eq!(answered, expected, "{length} {way:?}");
    }
}

#[test]
fn a_response_that_breaks_off_has_no_last_chunk() {
    let answered = talk(settings(), b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", |_| {
        let mut broken = response(200, &[], &[b"ab"], Way::Whole);
        broken.rest = crate::http::Rest::Broken;
        broken
    });
    assert!(
        answered.ends_with("Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n"),
        "{answered}"
    );
}

#[test]
fn an_invalid_response_head_is_an_error_of_the_application() {
    for (status, field) in [
        (200, ("a b", "c")),
        (200, ("a", "b\nc")),
        (200, ("Content-Length", "x")),
        (200, ("Content-Length", "")),
        (101, ("a", "b")),
        (1000, ("a", "b")),
    ] {
        let request = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        let answered = talk(settings(), request, |_| {
            response(status, &[field], &[], Way::Whole)
        });
        assert!(
            answered.starts_with("HTTP/1.1 500 Internal Server Error\r\n"),
            "{status} {field:?}: {answered}"
        );
    }
}

#[test]
fn connection_fields_of_the_application_are_dropped() {
    let answered = talk(settings(), b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", |_| {
        let fields = [
            ("Connection", "upgrade"),
            ("Transfer-Encoding", "gzip"),
            ("Keep-Alive", "timeout=1"),
            ("Content-Length", "1"),
            ("content-length", "1"),
        ];
        response(200, &fields, &[b"a"], Way::Whole)
    });
    assert_eq!(
        answered,
        "HTTP/1.1 200 As It Is\r\nContent-Length: 1\r\n\r\na"
    );
}

/// hyper's client reads the responses: it must see what was given.
mod beside_hyper {
    use http_body_util::{BodyExt, Full};
    use hyper::client::conn::http1::handshake;
    use hyper_util::rt::TokioIo;

    use super::*;

    fn names() -> impl Strategy<Value = String> {
        prop_oneof![
            "[A-Za-z][A-Za-z0-9-]{0,12}",
            Just("Set-Cookie".to_owned()),
            Just("Date".to_owned()),
        ]
        .prop_filter("not about the framing", |name| {
            let name = name.to_ascii_lowercase();
            let framing = [
                "connection",
                "keep-alive",
                "content-length",
                "transfer-encoding",
            ];
            !framing.contains(&name.as_str())
        })
    }

    fn ways() -> impl Strategy<Value = Way> {
        prop_oneof![Just(Way::Whole), Just(Way::Streamed), Just(Way::File)]
    }

    proptest! {
        #[test]
        fn hypers_client_reads_the_same_response(
            requests in prop::collection::vec((
                prop_oneof![Just("GET"), Just("HEAD"), Just("POST")],
                prop::collection::vec(any::<u8>(), 0..40_000),
                prop_oneof![Just(200u16), Just(204), Just(304), Just(404), Just(500), Just(999)],
                prop::collection::vec((names(), "[!-~]([ -~]{0,20}[!-~])?"), 0..6),
                prop::collection::vec(prop::collection::vec(any::<u8>(), 1..20_000), 0..5),
                ways(),
                any::<bool>(),
            ), 1..4),
            buffer_memory in prop_oneof![Just(0), Just(1 << 20)],
        ) {
            let expected = requests.clone();
            let at = std::cell::Cell::new(0);
            let answer = |request: Request| {
                let (_, sent, status, fields, body, way, has_length) = &expected[at.replace(at.get() + 1)];
                assert_eq!(content(&request.body), *sent);
                let length: usize = body.iter().map(Vec::len).sum();
                let length = length.to_string();
                let mut fields: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
                if *has_length {
                    fields.push(("Content-Length", &length));
                }
                let body: Vec<&[u8]> = body.iter().map(Vec::as_slice).collect();
                response(*status, &fields, &body, *way)
            };
            let settings = Settings { buffer_memory, ..settings() };
            run(settings, answer, async |stream| {
                let (mut client, connection) = handshake(TokioIo::new(stream)).await.unwrap();
                let talk = async move {
                    for (method, sent, status, fields, body, ..) in requests {
                        let request = hyper::Request::builder()
                            .method(method)
                            .uri("/")
                            .header("Host", "a")
                            .body(Full::new(bytes::Bytes::from(sent)))
                            .unwrap();
                        client.ready().await.unwrap();
                        let response = client.send_request(request).await.unwrap();
                        assert_eq!(response.status().as_u16(), status);
                        for (name, _) in &fields {
                            let got: Vec<&[u8]> = response
                                .headers()
                                .get_all(name)
                                .iter()
                                .map(hyper::header::HeaderValue::as_bytes)
                                .collect();
                            let given: Vec<&[u8]> = fields
                                .iter()
                                .filter(|(other, _)| other.eq_ignore_ascii_case(name))
                                .map(|(_, value)| value.as_bytes())
                                .collect();
                            assert_eq!(got, given, "{name}");
                        }
                        let got = response.into_body().collect().await.unwrap().to_bytes();
                        let has_body = method != "HEAD" && !matches!(status, 204 | 304);
                        let given = if has_body { body.concat() } else { Vec::new() };
                        assert!(got == given, "{} bytes for {}", got.len(), given.len());
                    }
                };
                let (_, ended) = tokio::join!(talk, connection);
                ended.unwrap();
            });
        }
    }
}
