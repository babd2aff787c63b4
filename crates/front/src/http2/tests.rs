//! Connections in memory, with hyper's client and handlers of the tests' own.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use bytes::Bytes;
use exchange::{After, Extent, Part, Version};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper::rt::Executor;
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, DuplexStream, duplex};
use tokio::sync::watch;
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep, timeout};

use super::{first_bytes, is_preface, serve};
use crate::config::Settings;
use crate::context::Context;
use crate::http::{Next, Parts, Peer, Request, Response};
use crate::testing::{Answers, Way, content, response, settings};

type Client = SendRequest<Full<Bytes>>;

#[derive(Clone)]
struct Local;

impl<F: Future + 'static> Executor<F> for Local {
    fn execute(&self, work: F) {
        spawn_local(async move { drop(work.await) });
    }
}

/// Runs `client` against a connection whose requests are answered by `answer`; it may tell that no further request is wanted.
/// The connection has ended when this has.
fn run<T>(
    settings: Settings,
    answer: impl Fn(Request) -> Response + 'static,
    client: impl AsyncFnOnce(DuplexStream, watch::Sender<bool>) -> T,
) -> T {
    // Time passes as soon as nothing else is to be done.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build_local(tokio::runtime::LocalOptions::default())
        .unwrap();
    let (say, draining) = watch::channel(false);
    let context = Rc::new(Context::new(settings, |_| Ok(0), None, draining));
    let (mut ours, theirs) = duplex(16 * 1024);
    let handler = Rc::new(Answers(answer));
    runtime.block_on(async {
        let server = async {
            let mut begun = Vec::new();
            first_bytes(&mut ours, &mut begun).await.unwrap();
            assert!(is_preface(&begun));
            context.clock.advance();
            let mut server = pin!(serve(ours, Peer::unix(), &context, &handler));
            poll_fn(|task| {
                context.clock.advance();
                server.as_mut().poll(task)
            })
            .await;
        };
        tokio::join!(client(theirs, say), server).0
    })
}

async fn connect(stream: DuplexStream) -> Client {
    let (client, connection) = handshake(Local, TokioIo::new(stream)).await.unwrap();
    spawn_local(async move { drop(connection.await) });
    client
}

fn get(method: &str) -> hyper::Request<Full<Bytes>> {
    post(method, Vec::new())
}

fn post(method: &str, body: Vec<u8>) -> hyper::Request<Full<Bytes>> {
    hyper::Request::builder()
        .method(method)
        .uri("http://site/")
        .body(Full::new(body.into()))
        .unwrap()
}

const FIELDS: &[(&str, &str)] = &[
    ("X-b", "1"),
    ("Set-Cookie", "a"),
    ("Connection", "close"),
    ("Set-Cookie", "b"),
];

#[test]
fn fields_and_body_are_those_that_are_given_on_every_way() {
    for (method, way, length, body) in [
        ("GET", Way::Whole, Some("6"), "first2"),
        ("HEAD", Way::Whole, Some("6"), ""),
        ("GET", Way::File, Some("6"), "first2"),
        ("HEAD", Way::File, Some("6"), ""),
        ("GET", Way::Streamed, None, "first2"),
        ("HEAD", Way::Streamed, None, ""),
    ] {
        let answer = move |request: Request| {
            assert_eq!(request.head.version(), Version::Http2);
            assert_eq!(request.head.host(), b"site");
            response(200, FIELDS, &[b"first", b"2"], way)
        };
        run(settings(), answer, async |stream, _| {
            let mut client = connect(stream).await;
            let response = client.send_request(get(method)).await.unwrap();
            let mut fields: Vec<_> = response
                .headers()
                .iter()
                .filter(|(name, _)| *name != "date")
                .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
                .collect();
            let tells = fields.pop_if(|(name, _)| *name == "content-length");
            assert_eq!(tells.map(|(_, value)| value), length, "{method} {way:?}");
            assert_eq!(
                fields,
                [("x-b", "1"), ("set-cookie", "a"), ("set-cookie", "b")]
            );
            assert!(response.headers().contains_key("date"));
            let got = response.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(got, body, "{method} {way:?}");
        });
    }
}

#[test]
fn a_response_that_is_not_what_its_head_says_resets_its_stream() {
    let broken = |after| {
        let response = response(200, &[], &[], Way::Whole);
        let head = response.head().unwrap();
        let mut bytes = Vec::new();
        head.encode(&mut bytes);
        let part = Part {
            head: bytes.len(),
            bytes: [&bytes[..], b"some"].concat(),
            after,
        };
        Response::new(part, crate::testing::Script::default())
    };
    let length = |length: &str| {
        let fields = [("Content-Length", length)];
        response(200, &fields, &[b"some"], Way::Whole)
    };
    let answers: [&'static dyn Fn() -> Response; 3] = [
        Box::leak(Box::new(move || broken(After::Broken))),
        Box::leak(Box::new(move || broken(After::More))),
        Box::leak(Box::new(move || length("5"))),
    ];
    for (number, answer) in answers.into_iter().enumerate() {
        run(
            settings(),
            move |_| answer(),
            async |stream, _| {
                let mut client = connect(stream).await;
                // The reset overtakes what has not been sent.
                let read = match client.send_request(get("GET")).await {
                    Ok(response) => response.into_body().collect().await.map(drop),
                    Err(error) => Err(error),
                };
                let error = read.unwrap_err().to_string();
                assert!(error.contains("error"), "{number}: {error}");
            },
        );
    }
}

#[test]
fn what_http_cannot_say_is_a_500() {
    for fields in [
        &[("X", "a\nb")][..],
        &[("a b", "c")],
        &[("Content-Length", "x")],
    ] {
        let answer = |_: Request| response(200, fields, &[], Way::Whole);
        run(settings(), answer, async |stream, _| {
            let mut client = connect(stream).await;
            let response = client.send_request(get("GET")).await.unwrap();
            assert_eq!(response.status(), 500);
        });
    }
}

#[test]
fn a_request_that_is_refused_costs_no_other() {
    let settings = Settings {
        limit_request_body: 10,
        limit_request_field_size: 100,
        ..settings()
    };
    let answer = |_: Request| response(200, &[], &[], Way::Whole);
    run(settings, answer, async |stream, _| {
        let mut client = connect(stream).await;
        let field = |value: &str| {
            let mut request = get("GET");
            let value = value.try_into().unwrap();
            request.headers_mut().insert("expect", value);
            request
        };
        for (request, status) in [
            (post("POST", vec![0; 11]), 413),
            (field("x"), 417),
            (field(&"x".repeat(100)), 431),
            (post("POST", vec![0; 10]), 200),
        ] {
            let response = client.send_request(request).await.unwrap();
            assert_eq!(response.status(), status);
        }
    });
}

#[test]
fn an_idle_connection_ends_in_time() {
    let settings = Settings {
        header_timeout: Duration::from_secs(3),
        keep_alive: Duration::from_secs(7),
        ..settings()
    };
    let answer = |_: Request| response(200, &[], &[], Way::Whole);
    run(settings.clone(), answer, async |stream, _| {
        let began = Instant::now();
        let (client, connection) = handshake::<_, _, Full<Bytes>>(Local, TokioIo::new(stream))
            .await
            .unwrap();
        connection.await.unwrap();
        assert_eq!(began.elapsed().as_secs(), 3);
        drop(client);
    });
    run(settings, answer, async |stream, _| {
        let mut client = connect(stream).await;
        client.send_request(get("GET")).await.unwrap();
        let began = Instant::now();
        while !client.is_closed() {
            sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(began.elapsed().as_secs(), 7);
    });
}

#[test]
fn a_client_that_takes_nothing_is_cut_off() {
    let settings = Settings {
        send_timeout: Duration::from_secs(20),
        ..settings()
    };
    let answer = |_: Request| {
        let piece = vec![0; 100_000];
        response(200, &[], &[&piece[..]; 100], Way::Streamed)
    };
    run(settings, answer, async |stream, _| {
        let began = Instant::now();
        let mut client = connect(stream).await;
        let mut response = client.send_request(get("GET")).await.unwrap();
        response.frame().await.unwrap().unwrap();
        // Nothing more is taken, and so the window stays closed.
        while !client.is_closed() {
            sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(began.elapsed().as_secs(), 20);
        assert!(response.into_body().collect().await.is_err());
    });
}

/// Pieces of one byte.
#[derive(Debug)]
struct Small(Rc<Cell<usize>>);

const SMALL_PIECES: usize = 60_000;

impl Parts for Small {
    fn poll_next(&mut self, _: &mut TaskContext<'_>) -> Poll<Next> {
        self.0.set(self.0.get() + 1);
        let is_last = self.0.get() == SMALL_PIECES;
        Poll::Ready(Next::Part(Part {
            bytes: vec![0],
            head: 0,
            after: if is_last {
                After::Complete
            } else {
                After::More
            },
        }))
    }

    fn extent(&mut self) -> Option<Extent> {
        None
    }
}

#[test]
fn small_pieces_stay_where_they_are_while_the_client_takes_nothing() {
    let given = Rc::new(Cell::new(0));
    let seen = Rc::clone(&given);
    let answer = move |_: Request| {
        let head = response(200, &[], &[], Way::Whole);
        let (bytes, head, _) = head.into_parts();
        let after = After::More;
        Response::new(Part { bytes, head, after }, Small(Rc::clone(&given)))
    };
    run(settings(), answer, async |stream, _| {
        let (mut client, connection) = handshake(Local, TokioIo::new(stream)).await.unwrap();
        let mut connection = pin!(connection);
        let response = client.send_request(get("GET"));
        let response = tokio::select! {
            response = response => response.unwrap(),
            ended = &mut connection => panic!("{ended:?}"),
        };
        // Nothing more is read of the connection.
        sleep(Duration::from_millis(100)).await;
        assert!(seen.get() < SMALL_PIECES / 2, "{}", seen.get());
        drop(response);
    });
}

#[test]
fn a_drain_lets_what_runs_finish_and_ends_the_connection() {
    let answer = |_: Request| response(200, &[], &[b"first", b"2"], Way::Streamed);
    run(settings(), answer, async |stream, say| {
        let mut client = connect(stream).await;
        let response = client.send_request(get("GET")).await.unwrap();
        say.send(true).unwrap();
        let got = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(got, "first2");
        let closed = async {
            while !client.is_closed() {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(1), closed).await.unwrap();
    });
}

#[test]
fn what_is_no_http2_behind_the_preface_ends_the_connection() {
    let answer = |_: Request| response(200, &[], &[], Way::Whole);
    run(settings(), answer, async |mut stream, _| {
        use tokio::io::AsyncWriteExt;
        stream.write_all(super::preface::PREFACE).await.unwrap();
        stream.write_all(&[0xFF; 100]).await.unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.unwrap();
    });
}

proptest! {
    #[test]
    fn streams_side_by_side_have_their_own_responses(
        requests in prop::collection::vec((
            prop::collection::vec(any::<u8>(), 0..40_000),
            prop::collection::vec(prop::collection::vec(any::<u8>(), 1..20_000), 0..5),
            prop_oneof![Just(Way::Whole), Just(Way::Streamed), Just(Way::File)],
        ), 1..6),
        buffer_memory in prop_oneof![Just(0), Just(1 << 20)],
    ) {
        let expected = requests.clone();
        let answer = move |request: Request| {
            let number: usize = std::str::from_utf8(&request.head.raw_target()[1..]).unwrap().parse().unwrap();
            let (sent, body, way) = &expected[number];
            assert_eq!(content(&request.body), *sent);
            let body: Vec<&[u8]> = body.iter().map(Vec::as_slice).collect();
            response(200, &[], &body, *way)
        };
        let settings = Settings { buffer_memory, ..settings() };
        run(settings, answer, async |stream, _| {
            let client = connect(stream).await;
            let all = requests.into_iter().enumerate().map(|(number, (sent, body, _))| {
                let mut client = client.clone();
                spawn_local(async move {
                    let mut request = post("POST", sent);
                    *request.uri_mut() = format!("http://site/{number}").parse().unwrap();
                    let response = client.send_request(request).await.unwrap();
                    let got = response.into_body().collect().await.unwrap().to_bytes();
                    assert_eq!(got, body.concat());
                })
            });
            for each in all.collect::<Vec<_>>() {
                each.await.unwrap();
            }
        });
    }
}
