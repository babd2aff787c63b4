//! The exchange end to end in one process: a front, and children that are threads.

mod answers;
mod attacks;
mod deaths;
mod requests;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;

use crate::*;

/// Collects the answers and the ends of all requests.
#[derive(Default)]
struct Collected {
    answers: HashMap<RequestId, Vec<u8>>,
    ended: Vec<(RequestId, After)>,
    lost: Vec<RequestId>,
    /// [`Wish::More`] if not set.
    wish: Option<Wish>,
    asked: Vec<WantedBody>,
    given: Vec<(RequestId, Extent)>,
    refused: Vec<Refused>,
    births: Vec<(ChildId, u32)>,
}

impl Sink for Collected {
    fn wish(&mut self, _: RequestId) -> Wish {
        self.wish.unwrap_or(Wish::More)
    }
    fn part(&mut self, request_id: RequestId, part: Part) {
        self.answers
            .entry(request_id)
            .or_default()
            .extend(&part.bytes[part.head..]);
        if part.after != After::More {
            self.ended.push((request_id, part.after));
        }
    }
    fn lost(&mut self, request_id: RequestId) {
        self.lost.push(request_id);
    }
    fn body_wanted(&mut self, wanted: WantedBody) {
        self.asked.push(wanted);
    }
    fn file_given(&mut self, request_id: RequestId, extent: Extent) {
        self.given.push((request_id, extent));
    }
    fn births(&mut self) -> Vec<(ChildId, u32)> {
        std::mem::take(&mut self.births)
    }
    fn refused(&mut self, refused: Refused) {
        self.refused.push(refused);
    }
}

const HEAD: Head<'static> = Head {
    status: 200,
    reason: b"OK",
    headers: Headers::NONE,
};
const CHILD: ChildId = ChildId {
    slot: 0,
    incarnation: 1,
};

fn exchange(children: u16, threads: u8, queue: u32) -> (Arc<Exchange>, Dispatcher) {
    let exchange = Arc::new(
        Exchange::create(Geometry {
            children,
            threads,
            queue,
        })
        .unwrap(),
    );
    for (slot, place) in exchange.scoreboard().children().iter().enumerate() {
        place.begin(1, 1);
        place.set_state(ChildState::Ready);
        assert_eq!(
            (
                place.incarnation(),
                place.generation(),
                slot < usize::from(children)
            ),
            (1, 1, true)
        );
    }
    let mut dispatcher = Dispatcher::open(Arc::clone(&exchange));
    // The children of these tests are threads.
    for slot in 0..children {
        dispatcher.born(
            ChildId {
                slot,
                incarnation: 1,
            },
            std::process::id(),
        );
    }
    (exchange, dispatcher)
}

fn request(path: &str, body: &[u8]) -> Vec<u8> {
    let request = Request {
        method: b"GET",
        path: path.as_bytes(),
        query: b"",
        version: Version::Http11,
        https: false,
        remote_addr: b"127.0.0.1",
        remote_port: 1,
        server_name: b"localhost",
        server_port: 80,
        authority: b"",
        fields: Lines::NONE,
        body: Body::Memory(body),
    };
    let mut bytes = Vec::new();
    request.encode(&mut bytes);
    bytes
}

/// A child of one thread that answers each request with its own path and body, until `stop` is set.
fn echo(
    exchange: &Arc<Exchange>,
    child: ChildId,
    stop: &Arc<AtomicBool>,
) -> thread::JoinHandle<usize> {
    let (exchange, stop) = (Arc::clone(exchange), Arc::clone(stop));
    thread::Builder::new()
        .spawn(move || {
            let mut worker = Worker::new(exchange, child, 0, Original::here());
            let mut served = 0;
            while let Some(mut claim) = worker.take(&stop) {
                let (request, reply) = claim.split().unwrap();
                let body = match request.body {
                    Body::Memory(body) => body.to_vec(),
                    Body::Apart(size) => {
                        let mut body = vec![0; usize::try_from(size).unwrap()];
                        reply.body(&mut body).unwrap();
                        body
                    }
                    Body::File(_) => panic!("no file was offered"),
                };
                let answer = [request.path, &body].concat();
                // It fails when the client has gone, which is no fault of the child.
                let _ = reply.send(Some(&HEAD), &answer, After::Complete);
                served += 1;
            }
            served
        })
        .unwrap()
}

/// Sends a part of an answer, with a head.
fn send(claim: &mut Claim<'_>, data: &[u8], after: After) -> Result<(), Gone> {
    claim.split().unwrap().1.send(Some(&HEAD), data, after)
}

/// Pumps until so many answers have ended. The front of these tests never parks.
fn pump_until(dispatcher: &mut Dispatcher, sink: &mut Collected, ended: usize) {
    while sink.ended.len() + sink.lost.len() < ended {
        assert_eq!(dispatcher.pump(sink), []);
        dispatcher.announce();
        thread::yield_now();
    }
}
