//! The exchange end to end in one process: a front, and children that are threads.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc;
use std::thread;

use crate::sync::Ordering;
use crate::word::Word;
use crate::*;

/// Collects what comes of each request.
#[derive(Default)]
struct Collected {
    answers: HashMap<Ticket, Vec<u8>>,
    ended: Vec<(Ticket, After)>,
    lost: Vec<Ticket>,
    later: bool,
}

impl Sink for Collected {
    fn wish(&mut self, _: Ticket) -> Wish {
        if self.later { Wish::Later } else { Wish::More }
    }
    fn part(&mut self, ticket: Ticket, part: Part) {
        self.answers
            .entry(ticket)
            .or_default()
            .extend(&part.bytes[part.head..]);
        if part.after != After::More {
            self.ended.push((ticket, part.after));
        }
    }
    fn lost(&mut self, ticket: Ticket) {
        self.lost.push(ticket);
    }
}

const HEAD: Head<'static> = Head {
    status: 200,
    reason: b"OK",
    headers: Headers::NONE,
};
const CHILD: ChildId = ChildId { slot: 0, life: 1 };

fn exchange(children: u16, threads: u8, queue: u32) -> (Arc<Exchange>, Dispatcher) {
    let exchange = Arc::new(
        Exchange::create(Geometry {
            children,
            threads,
            queue,
        })
        .unwrap(),
    );
    for (slot, place) in exchange.board().children().iter().enumerate() {
        place.begin(1, 1);
        place.set_state(ChildState::Ready);
        assert_eq!(
            (
                place.life(),
                place.generation(),
                slot < usize::from(children)
            ),
            (1, 1, true)
        );
    }
    let dispatcher = Dispatcher::open(Arc::clone(&exchange));
    (exchange, dispatcher)
}

fn request(path: &str, body: &[u8]) -> Vec<u8> {
    let request = Request {
        method: b"GET",
        path: path.as_bytes(),
        query: b"",
        http10: false,
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

/// A child of one thread that answers each request with its own path and body, until told to stop.
fn echo(
    exchange: &Arc<Exchange>,
    child: ChildId,
    stop: &Arc<AtomicBool>,
) -> thread::JoinHandle<usize> {
    let (exchange, stop) = (Arc::clone(exchange), Arc::clone(stop));
    thread::Builder::new()
        .spawn(move || {
            let mut seat = Seat::new(exchange, child, 0);
            let mut served = 0;
            while let Some(mut claim) = seat.take(&stop) {
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
                // A client that has gone is no failure of the child.
                let _ = reply.send(Some(&HEAD), &answer, After::Complete);
                served += 1;
            }
            served
        })
        .unwrap()
}

/// Pumps until so many answers have ended. The front of these tests is always awake.
fn pump_until(dispatcher: &mut Dispatcher, sink: &mut Collected, ended: usize) {
    while sink.ended.len() + sink.lost.len() < ended {
        assert_eq!(dispatcher.pump(sink), []);
        dispatcher.announce();
        thread::yield_now();
    }
}

#[test]
fn every_request_is_answered_once_whichever_child_takes_it() {
    let (exchange, mut dispatcher) = exchange(3, 1, 64);
    let stop = Arc::new(AtomicBool::new(false));
    let children: Vec<_> = (0..3)
        .map(|slot| echo(&exchange, ChildId { slot, life: 1 }, &stop))
        .collect();
    let mut sink = Collected::default();
    let mut expected = Vec::new();
    for number in 0..5_000usize {
        // Bodies from nothing to several blocks.
        let body: Vec<u8> = (0..=250).cycle().take(number % 7 * 9_000).collect();
        let path = format!("/{number}");
        let bytes = request(&path, &body);
        let (head, _) = bytes.split_at(bytes.len() - body.len());
        let ticket = loop {
            match dispatcher.offer_pieces([head, &body]) {
                Ok(ticket) => break ticket,
                Err(Full::Queue | Full::Memory) => {
                    dispatcher.announce();
                    assert_eq!(dispatcher.pump(&mut sink), []);
                }
                Err(Full::TooLarge) => panic!("it fits"),
            }
        };
        expected.push((ticket, [path.as_bytes(), &body].concat()));
        if dispatcher.unannounced() > 8 {
            dispatcher.announce();
        }
    }
    dispatcher.announce();
    pump_until(&mut dispatcher, &mut sink, 5_000);
    stop.store(true, SeqCst);
    (0..3).for_each(|slot| wake_child(&exchange, ChildId { slot, life: 1 }));
    let served: usize = children
        .into_iter()
        .map(|child| child.join().unwrap())
        .sum();
    assert_eq!(served, 5_000);
    assert_eq!(
        (0..3)
            .map(|slot| exchange.board().served(slot))
            .sum::<u64>(),
        5_000
    );
    for (ticket, answer) in expected {
        assert_eq!(sink.answers[&ticket], answer);
    }
}

#[test]
fn a_full_queue_takes_no_more_and_a_large_request_is_refused() {
    let (_exchange, mut dispatcher) = exchange(1, 1, 3);
    let bytes = request("/", b"");
    for _ in 0..3 {
        dispatcher.offer(&bytes).unwrap();
    }
    assert_eq!(dispatcher.offer(&bytes), Err(Full::Queue));
    assert_eq!(dispatcher.waiting(), 3);
    assert_eq!(
        dispatcher.offer(&vec![0; MAX_REQUEST + 1]),
        Err(Full::TooLarge)
    );
}

#[test]
fn withdrawn_requests_make_room_and_are_never_seen() {
    let (exchange, mut dispatcher) = exchange(1, 1, 3);
    // Many more than the queue has entries.
    for number in 0..1_000 {
        let ticket = dispatcher
            .offer(&request(&format!("/gone/{number}"), b""))
            .unwrap();
        assert!(dispatcher.give_up(ticket));
    }
    let kept = dispatcher.offer(&request("/kept", b"")).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let child = echo(&exchange, CHILD, &stop);
    let mut sink = Collected::default();
    dispatcher.announce();
    pump_until(&mut dispatcher, &mut sink, 1);
    assert_eq!(sink.answers[&kept], b"/kept");
    stop.store(true, SeqCst);
    wake_child(&exchange, CHILD);
    assert_eq!(child.join().unwrap(), 1);
}

#[test]
fn a_thread_hears_that_its_client_has_gone_and_its_slot_is_free_again() {
    let (exchange, mut dispatcher) = exchange(1, 1, 1);
    let mut seat = Seat::new(Arc::clone(&exchange), CHILD, 0);
    let go_on = AtomicBool::new(false);
    for _ in 0..50 {
        let ticket = dispatcher.offer(&request("/", b"")).unwrap();
        let mut claim = seat.take(&go_on).unwrap();
        assert_eq!(exchange.in_flight(CHILD).len(), 1);
        assert!(!dispatcher.give_up(ticket));
        let (_, reply) = claim.split().unwrap();
        assert_eq!(reply.send(Some(&HEAD), b"late", After::More), Err(Gone));
        assert_eq!(reply.send(None, b"later", After::Complete), Err(Gone));
        drop(claim);
        let mut sink = Collected::default();
        assert_eq!(dispatcher.pump(&mut sink), []);
        assert!(sink.answers.is_empty() && exchange.in_flight(CHILD).is_empty());
    }
}

#[test]
fn what_a_dead_child_had_answered_is_delivered_and_the_rest_is_lost() {
    let (exchange, mut dispatcher) = exchange(2, 2, 8);
    let go_on = AtomicBool::new(false);
    let mut seats = [0, 1].map(|thread| Seat::new(Arc::clone(&exchange), CHILD, thread));
    let [answered, running, waiting] = ["/answered", "/running", "/waiting"]
        .map(|path| dispatcher.offer(&request(path, b"")).unwrap());
    let [one, two] = &mut seats;
    let mut first = one.take(&go_on).unwrap();
    first
        .split()
        .unwrap()
        .1
        .send(Some(&HEAD), b"done", After::Complete)
        .unwrap();
    let mut second = two.take(&go_on).unwrap();
    second
        .split()
        .unwrap()
        .1
        .send(Some(&HEAD), b"half", After::More)
        .unwrap();
    // A killed process runs no destructors.
    std::mem::forget((first, second));
    let in_flight = exchange.in_flight(CHILD);
    assert_eq!(
        in_flight
            .iter()
            .map(|request| request.path.as_str())
            .collect::<Vec<_>>(),
        ["/answered", "/running"]
    );

    let mut sink = Collected::default();
    dispatcher.gone(CHILD, &mut sink);
    assert_eq!(sink.answers[&answered], b"done");
    assert_eq!(sink.answers[&running], b"half");
    assert_eq!(
        (sink.ended, sink.lost),
        (vec![(answered, After::Complete)], vec![running])
    );
    assert_eq!(dispatcher.waiting(), 1);

    // The next life begins with clean rings, and the word of a former death does nothing to it.
    exchange.board().child(0).begin(2, 1);
    let mut next = Seat::new(Arc::clone(&exchange), ChildId { slot: 0, life: 2 }, 0);
    let mut claim = next.take(&go_on).unwrap();
    assert_eq!(claim.split().unwrap().0.path, b"/waiting");
    let mut sink = Collected::default();
    dispatcher.gone(CHILD, &mut sink);
    assert!(sink.lost.is_empty());
    claim
        .split()
        .unwrap()
        .1
        .send(Some(&HEAD), b"new", After::Complete)
        .unwrap();
    drop(claim);
    assert_eq!(dispatcher.pump(&mut sink), []);
    assert_eq!(sink.answers[&waiting], b"new");
}

#[test]
fn a_slow_reader_stops_its_thread_and_nobody_else() {
    let (exchange, mut dispatcher) = exchange(2, 1, 8);
    let ticket = dispatcher.offer(&request("/", b"")).unwrap();
    let (say, hear) = mpsc::channel();
    let large = {
        let exchange = Arc::clone(&exchange);
        thread::Builder::new()
            .spawn(move || {
                let mut seat = Seat::new(exchange, CHILD, 0);
                let mut claim = seat.take(&AtomicBool::new(false)).unwrap();
                let (_, reply) = claim.split().unwrap();
                assert!(!reply.fits(1_000_000));
                say.send(()).unwrap();
                reply
                    .send(Some(&HEAD), &vec![7; 1_000_000], After::Complete)
                    .unwrap();
            })
            .unwrap()
    };
    hear.recv().unwrap();
    let mut sink = Collected {
        later: true,
        ..Collected::default()
    };
    while !dispatcher.has_stalled() {
        assert_eq!(dispatcher.pump(&mut sink), []);
    }
    assert!(sink.answers.is_empty() && !large.is_finished());

    let other = dispatcher.offer(&request("/", b"")).unwrap();
    let mut seat = Seat::new(Arc::clone(&exchange), ChildId { slot: 1, life: 1 }, 0);
    let mut claim = seat.take(&AtomicBool::new(false)).unwrap();
    claim
        .split()
        .unwrap()
        .1
        .send(Some(&HEAD), b"quick", After::Complete)
        .unwrap();
    drop(claim);
    assert_eq!(dispatcher.pump(&mut sink), []);
    assert_eq!(sink.answers[&other], b"quick");

    sink.later = false;
    pump_until(&mut dispatcher, &mut sink, 2);
    large.join().unwrap();
    assert_eq!(sink.answers[&ticket], vec![7; 1_000_000]);
}

#[test]
fn a_claim_that_is_dropped_without_an_end_is_broken_off() {
    let (exchange, mut dispatcher) = exchange(1, 1, 1);
    let ticket = dispatcher.offer(&request("/", b"")).unwrap();
    drop(
        Seat::new(exchange, CHILD, 0)
            .take(&AtomicBool::new(false))
            .unwrap(),
    );
    let mut sink = Collected::default();
    assert_eq!(dispatcher.pump(&mut sink), []);
    assert_eq!(sink.ended, [(ticket, After::Broken)]);
}

#[test]
fn a_new_front_drops_what_waited_and_lets_what_runs_end() {
    let (exchange, mut old) = exchange(1, 1, 4);
    let running = old.offer(&request("/running", &[1; 100_000])).unwrap();
    old.offer(&request("/waiting", b"")).unwrap();
    let mut seat = Seat::new(Arc::clone(&exchange), CHILD, 0);
    let mut claim = seat.take(&AtomicBool::new(false)).unwrap();
    let blocks = old.free_blocks();
    drop(old);

    let mut new = Dispatcher::open(Arc::clone(&exchange));
    assert_eq!(new.free_blocks(), blocks);
    let mut sink = Collected::default();
    assert_eq!(
        claim
            .split()
            .unwrap()
            .1
            .send(Some(&HEAD), b"for nobody", After::Complete),
        Err(Gone)
    );
    drop(claim);
    assert_eq!(new.pump(&mut sink), []);
    assert!(sink.answers.is_empty());
    assert!(new.free_blocks() > blocks);

    let fresh = new.offer(&request("/fresh", b"")).unwrap();
    assert!(fresh.slot != running.slot || fresh.seq != running.seq);
    let mut claim = seat.take(&AtomicBool::new(false)).unwrap();
    assert_eq!(claim.split().unwrap().0.path, b"/fresh");
}

#[test]
fn a_child_that_writes_nonsense_is_found_out_and_costs_its_own_request() {
    for nonsense in [[0xff; 24], [0; 24]] {
        let (exchange, mut dispatcher) = exchange(2, 1, 4);
        let ticket = dispatcher.offer(&request("/", b"")).unwrap();
        let mut seat = Seat::new(Arc::clone(&exchange), CHILD, 0);
        std::mem::forget(seat.take(&AtomicBool::new(false)).unwrap());
        exchange.mapping.ring(0).copy_in(0, &nonsense);
        exchange.mapping.threads()[0]
            .written
            .store(24, Ordering::Release);
        exchange.mapping.dirty()[0].fetch_or(1, Ordering::AcqRel);
        let mut sink = Collected::default();
        assert_eq!(dispatcher.pump(&mut sink), [CHILD]);
        assert_eq!(dispatcher.pump(&mut sink), []);
        dispatcher.gone(CHILD, &mut sink);
        assert_eq!((sink.lost, sink.ended), (vec![ticket], vec![]));
    }
}

#[test]
fn a_body_in_a_file_is_fetched_by_the_thread_that_has_the_request() {
    use std::io::{Read, Write};
    let (exchange, mut dispatcher) = exchange(1, 1, 1);
    let (mut bytes, plain) = (Vec::new(), request("/", b""));
    let offered = Request {
        body: Body::File(5),
        ..Request::decode(&plain).unwrap()
    };
    offered.encode(&mut bytes);
    let ticket = dispatcher.offer(&bytes).unwrap();
    let thread = {
        let exchange = Arc::clone(&exchange);
        thread::Builder::new()
            .spawn(move || {
                let mut seat = Seat::new(exchange, CHILD, 0);
                let mut claim = seat.take(&AtomicBool::new(false)).unwrap();
                let (request, reply) = claim.split().unwrap();
                assert_eq!(request.body, Body::File(5));
                let mut text = String::new();
                std::fs::File::from(reply.body_file().unwrap())
                    .read_to_string(&mut text)
                    .unwrap();
                (text, reply.body_file().unwrap_err().kind())
            })
            .unwrap()
    };
    let asked = || loop {
        if let Ok(Some(Note::Asked(asked))) = exchange.note() {
            break asked;
        }
        thread::yield_now();
    };
    let first = asked();
    assert_eq!(first.ticket, ticket);
    // A pipe stands for the file: it, too, is read by whoever has the descriptor.
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(b"hello").unwrap();
    drop(writer);
    first.give(std::os::fd::AsFd::as_fd(&reader)).unwrap();
    drop(asked());
    assert_eq!(
        thread.join().unwrap(),
        ("hello".to_owned(), std::io::ErrorKind::NotFound)
    );
}

#[test]
fn a_new_front_frees_a_thread_that_waited_for_the_old_one_to_read() {
    let (exchange, mut old) = exchange(1, 1, 4);
    old.offer(&request("/large", b"")).unwrap();
    let thread = {
        let exchange = Arc::clone(&exchange);
        thread::Builder::new()
            .spawn(move || {
                let mut seat = Seat::new(exchange, CHILD, 0);
                let mut claim = seat.take(&AtomicBool::new(false)).unwrap();
                let (_, reply) = claim.split().unwrap();
                reply.send(Some(&HEAD), &vec![7; 2_000_000], After::Complete)
            })
            .unwrap()
    };
    let mut slow = Collected {
        later: true,
        ..Collected::default()
    };
    while !old.has_stalled() {
        assert_eq!(old.pump(&mut slow), []);
    }
    drop(old);

    let mut new = Dispatcher::open(Arc::clone(&exchange));
    let mut sink = Collected::default();
    while !thread.is_finished() {
        assert_eq!(new.pump(&mut sink), []);
        thread::yield_now();
    }
    assert_eq!(thread.join().unwrap(), Err(Gone));
    assert!(sink.answers.is_empty());
}

#[test]
fn a_thread_that_a_dying_front_marked_as_woken_is_woken_by_the_next() {
    let (exchange, old) = exchange(1, 1, 4);
    let stop = Arc::new(AtomicBool::new(false));
    let child = echo(&exchange, CHILD, &stop);
    // Marked, and then the front dies before it wakes.
    while !exchange.mapping.threads()[0].bell.stir() {
        thread::yield_now();
    }
    drop(old);

    let mut new = Dispatcher::open(Arc::clone(&exchange));
    new.offer(&request("/", b"")).unwrap();
    new.announce();
    let mut sink = Collected::default();
    pump_until(&mut new, &mut sink, 1);
    stop.store(true, SeqCst);
    wake_child(&exchange, CHILD);
    assert_eq!(child.join().unwrap(), 1);
}

#[test]
fn a_slot_that_a_front_freed_before_it_died_is_not_freed_twice() {
    let (exchange, mut old) = exchange(1, 1, 4);
    let ticket = old.offer(&request("/", b"")).unwrap();
    let mut seat = Seat::new(Arc::clone(&exchange), CHILD, 0);
    let mut claim = seat.take(&AtomicBool::new(false)).unwrap();
    claim
        .split()
        .unwrap()
        .1
        .send(Some(&HEAD), b"x", After::Complete)
        .unwrap();
    drop(claim);
    // Freed, and then the front dies before it counts the frame as read.
    exchange.mapping.words()[ticket.slot as usize].write(Word::Free(ticket.seq));
    drop(old);

    let mut new = Dispatcher::open(Arc::clone(&exchange));
    let mut sink = Collected::default();
    assert_eq!(new.pump(&mut sink), []);
    let slots: std::collections::HashSet<u32> = (0..4)
        .map(|_| new.offer(&request("/", b"")).unwrap().slot)
        .collect();
    assert_eq!(slots.len(), 4);
}

#[test]
fn block_numbers_that_a_child_has_scribbled_over_are_not_believed() {
    let (exchange, mut old) = exchange(1, 1, 4);
    let ticket = old.offer(&request("/", &[1; 50_000])).unwrap();
    let mut seat = Seat::new(Arc::clone(&exchange), CHILD, 0);
    let mut claim = seat.take(&AtomicBool::new(false)).unwrap();
    for block in &exchange.mapping.slots()[ticket.slot as usize].blocks {
        block.store(u32::MAX, Ordering::Relaxed);
    }
    let all = exchange.mapping.block_count();
    claim
        .split()
        .unwrap()
        .1
        .send(Some(&HEAD), b"x", After::Complete)
        .unwrap();
    drop(claim);
    assert_eq!(old.pump(&mut Collected::default()), []);
    assert_eq!(old.free_blocks(), all);
    drop(old);
    assert_eq!(Dispatcher::open(exchange).free_blocks(), all);
}

#[test]
fn a_file_is_at_the_desk_before_the_last_frame_is_in_the_ring() {
    let (exchange, mut dispatcher) = exchange(1, 1, 1);
    let mut sink = Collected::default();
    let ticket = dispatcher.offer(&request("/", b"")).unwrap();
    let mut seat = Seat::new(Arc::clone(&exchange), CHILD, 0);
    let mut claim = seat.take(&AtomicBool::new(false)).unwrap();
    let (reader, _writer) = std::io::pipe().unwrap();
    let extent = Extent {
        file: reader.into(),
        offset: 7,
        length: 1 << 40,
    };
    let (_, reply) = claim.split().unwrap();
    reply.send_file(Some(&HEAD), extent).unwrap();
    assert!(dispatcher.pump(&mut sink).is_empty());
    assert_eq!(sink.ended, [(ticket, After::File)]);
    let Ok(Some(Note::Given(given, extent))) = exchange.note() else {
        panic!("nothing is at the desk");
    };
    assert_eq!((given, extent.offset, extent.length), (ticket, 7, 1 << 40));
    assert_eq!(
        exchange.note().unwrap_err().kind(),
        std::io::ErrorKind::WouldBlock
    );
}

#[test]
fn the_load_says_who_is_busy_and_how_many_wait() {
    let (exchange, mut dispatcher) = exchange(2, 2, 8);
    let stop = AtomicBool::new(false);
    for path in ["/a", "/b", "/c", "/d"] {
        dispatcher.offer(&request(path, b"")).unwrap();
    }
    assert_eq!(exchange.load().busy, [0, 0]);
    assert_eq!(exchange.load().waiting(), 4);
    let other = ChildId { slot: 1, life: 1 };
    let mut seats: Vec<_> = [(CHILD, 0), (other, 0), (other, 1)]
        .map(|(child, thread)| Seat::new(Arc::clone(&exchange), child, thread))
        .into();
    let claims: Vec<_> = seats
        .iter_mut()
        .map(|seat| seat.take(&stop).unwrap())
        .collect();
    let load = exchange.load();
    assert_eq!((load.busy.as_slice(), load.waiting()), (&[1, 2][..], 1));
    assert_eq!((load.offered, load.taken), (4, 3));
    drop(claims);
    dispatcher.pump(&mut Collected::default());
    assert_eq!(exchange.load().busy, [0, 0]);
}
