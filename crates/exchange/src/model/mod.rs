//! The exchange that ships under the model checker: every order of steps that two or three threads can take (up to the
//! preemption bound), every value that an atomic may still show, and a SIGKILL before any one step.
//!
//! Front and threads are `Dispatcher` and `Worker` themselves. Only what the kernel does is modelled:
//! the mapping (`memory.rs`), the futex and the kill (`sync.rs`), and the pipe that wakes the front (`doorbell.rs`).
//!
//! Run with `make test-model`. `mutants.md` lists changes of the code and the models that fail by them.

mod deaths;
mod limits;
mod queue;
mod wakeups;

use std::sync::Arc;

use crate::sync::{AtomicBool, Ordering};
use crate::*;

/// Checks every order of steps with so many preemptions; a thread that blocks costs none.
fn check(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 10_000;
    builder.check(model);
}

/// An exchange with children that are ready, and its front.
fn open(children: u16, threads: u8, queue: u32) -> (Arc<Exchange>, Dispatcher) {
    let geometry = Geometry {
        children,
        threads,
        queue,
    };
    let exchange = Arc::new(Exchange::create(geometry).unwrap());
    for place in exchange.scoreboard().children() {
        place.begin(1, 1);
        place.set_state(ChildState::Ready);
    }
    let dispatcher = Dispatcher::open(Arc::clone(&exchange));
    (exchange, dispatcher)
}

fn child(slot: u16) -> ChildId {
    ChildId {
        slot,
        incarnation: 1,
    }
}

/// The bytes of a request with this path.
fn request(path: &str) -> Vec<u8> {
    let request = Request {
        method: b"GET",
        path: path.as_bytes(),
        query: b"",
        version: Version::Http11,
        https: false,
        remote_addr: b"",
        remote_port: 0,
        server_name: b"",
        server_port: 0,
        authority: b"",
        fields: Lines::NONE,
        body: Body::Memory(b""),
    };
    let mut bytes = Vec::new();
    request.encode(&mut bytes);
    bytes
}

/// As a thread of a child: takes one request, and answers with its path. `false` when `stop` was set.
fn serve_one(worker: &mut Worker, stop: &AtomicBool) -> bool {
    let Some(mut claim) = worker.take(stop) else {
        return false;
    };
    let (request, reply) = claim.split().unwrap();
    let _ = reply.send(None, request.path, After::Complete);
    true
}

fn worker(exchange: &Arc<Exchange>, slot: u16, thread: u8) -> Worker {
    Worker::new(Arc::clone(exchange), child(slot), thread, Original::here())
}

/// Collects the ends of all requests.
#[derive(Default)]
struct Answers {
    ended: Vec<(RequestId, Vec<u8>)>,
    lost: Vec<RequestId>,
}

impl Answers {
    fn count(&self) -> usize {
        self.ended.len() + self.lost.len()
    }

    /// As the front's event loop: reads answers until so many requests have ended, and parks in between.
    fn wait_for(&mut self, count: usize, exchange: &Exchange, dispatcher: &mut Dispatcher) {
        loop {
            assert_eq!(dispatcher.pump(self), []);
            if self.count() >= count {
                return;
            }
            if dispatcher.prepare_park() {
                exchange.doorbell.wait();
                dispatcher.cancel_park();
            }
        }
    }
}

impl Sink for Answers {
    fn wish(&mut self, _: RequestId) -> Wish {
        Wish::More
    }
    fn part(&mut self, request_id: RequestId, part: Part) {
        assert_eq!(part.after, After::Complete);
        assert!(
            self.ended.iter().all(|(ended, _)| *ended != request_id),
            "answered twice"
        );
        self.ended.push((request_id, part.bytes));
    }
    fn lost(&mut self, request_id: RequestId) {
        self.lost.push(request_id);
    }
    fn body_wanted(&mut self, _: WantedBody) {}
    fn file_given(&mut self, _: RequestId, _: Extent) {}
    fn births(&mut self) -> Vec<(ChildId, u32)> {
        Vec::new()
    }
    fn refused(&mut self, _: Refused) {}
}
