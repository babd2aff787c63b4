//! What a request costs in the exchange when no thread is parked: `cargo bench --package rwsgi-exchange`.
#![allow(missing_docs, reason = "criterion's macros make functions without any")]
#![allow(clippy::unwrap_used, reason = "a measurement that fails is to stop")]

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use criterion::{Criterion, criterion_group, criterion_main};
use rwsgi_exchange::{
    After, Body, ChildId, Dispatcher, Exchange, Extent, Geometry, Head, HeaderWriter, Lines,
    Original, Part, Refused, Reply, Request, RequestId, Sink, Version, WantedBody, Wish, Worker,
};

const FIELDS: &[u8] = b"Host: site.example\r\nConnection: keep-alive\r\nCache-Control: max-age=0\r\n\
    Upgrade-Insecure-Requests: 1\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
    Sec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: navigate\r\nAccept-Encoding: gzip, deflate, br\r\n\
    Accept-Language: en-GB,en;q=0.9\r\nCookie: sessionid=4w1k5q9c0m8z7v2b6n3x\r\n";

const REQUEST: Request<'_> = Request {
    method: b"GET",
    path: b"/",
    query: b"",
    version: Version::Http11,
    https: false,
    remote_addr: b"192.0.2.7",
    remote_port: 50123,
    server_name: b"site.example",
    server_port: 80,
    authority: b"",
    fields: Lines::NONE,
    body: Body::Memory(b""),
};

struct Count(usize);

impl Sink for Count {
    fn wish(&mut self, _: RequestId) -> Wish {
        Wish::More
    }

    fn part(&mut self, _: RequestId, part: Part) {
        self.0 += part.bytes.len();
    }

    fn lost(&mut self, _: RequestId) {}

    fn body_wanted(&mut self, _: WantedBody) {}

    fn file_given(&mut self, _: RequestId, _: Extent) {}

    fn births(&mut self) -> Vec<(ChildId, u32)> {
        Vec::new()
    }

    fn refused(&mut self, _: Refused) {}
}

fn fields() -> HeaderWriter {
    let mut fields = HeaderWriter::default();
    for name in ["Content-Type", "Vary", "X-Frame-Options", "Referrer-Policy"] {
        fields.push(name.as_bytes(), b"text/html; charset=utf-8");
    }
    fields.push(b"Content-Length", b"14");
    fields
}

fn round_trip(criterion: &mut Criterion) {
    let geometry = Geometry {
        children: 1,
        threads: 1,
        queue: 8,
    };
    let exchange = Arc::new(Exchange::create(geometry).unwrap());
    let child = ChildId {
        slot: 0,
        incarnation: 1,
    };
    exchange.scoreboard().child(0).begin(1, 1);
    let mut dispatcher = Dispatcher::open(Arc::clone(&exchange));
    let mut worker = Worker::new(Arc::clone(&exchange), child, 0, Original::here());
    let stop = AtomicBool::new(false);
    let answer = fields();
    let head = Head {
        status: 200,
        reason: b"OK",
        headers: answer.headers(),
    };
    for (name, lines) in [
        ("no fields", Lines::NONE),
        ("11 fields", Lines::new(FIELDS)),
    ] {
        let request = Request {
            fields: lines,
            ..REQUEST
        };
        let (mut bytes, mut sink) = (Vec::new(), Count(0));
        criterion.bench_function(&format!("round trip, {name}"), |bencher| {
            bencher.iter(|| {
                bytes.clear();
                request.encode(&mut bytes);
                dispatcher.offer(&bytes).unwrap();
                let taken = worker.poll(&stop).unwrap();
                let mut claim = worker.open(taken);
                let (request, reply) = claim.split().unwrap();
                black_box(request);
                reply
                    .send(Some(&head), b"Hello, world!\n", After::Complete)
                    .unwrap();
                drop(claim);
                dispatcher.pump(&mut sink);
            });
        });
        black_box(sink.0);
    }
}

fn reading(criterion: &mut Criterion) {
    let request = Request {
        fields: Lines::new(FIELDS),
        ..REQUEST
    };
    let mut bytes = Vec::new();
    request.encode(&mut bytes);
    criterion.bench_function("request read, 11 fields", |bencher| {
        bencher.iter(|| {
            Request::decode(black_box(&bytes))
                .unwrap()
                .fields
                .iter()
                .count()
        });
    });
    let answer = fields();
    let head = Head {
        status: 200,
        reason: b"OK",
        headers: answer.headers(),
    };
    let mut bytes = Vec::new();
    head.encode(&mut bytes);
    criterion.bench_function("answer's head read, 5 fields", |bencher| {
        bencher.iter(|| {
            Head::decode(black_box(&bytes))
                .unwrap()
                .headers
                .iter()
                .count()
        });
    });
}

criterion_group!(benches, round_trip, reading);
criterion_main!(benches);
