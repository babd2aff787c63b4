//! How requests come to the threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;

use super::*;

#[test]
fn every_request_is_answered_once_whichever_child_takes_it() {
    let (exchange, mut dispatcher) = exchange(3, 1, 64);
    let stop = Arc::new(AtomicBool::new(false));
    let children: Vec<_> = (0..3)
        .map(|slot| {
            echo(
                &exchange,
                ChildId {
                    slot,
                    incarnation: 1,
                },
                &stop,
            )
        })
        .collect();
    let mut sink = Collected::default();
    let mut expected = Vec::new();
    for number in 0..5_000usize {
        // Bodies from nothing to several blocks.
        let body: Vec<u8> = (0..=250).cycle().take(number % 7 * 9_000).collect();
        let path = format!("/{number}");
        let bytes = request(&path, &body);
        let (head, _) = bytes.split_at(bytes.len() - body.len());
        let request_id = loop {
            match dispatcher.offer_pieces([head, &body]) {
                Ok(request_id) => break request_id,
                Err(Full::Queue | Full::Memory) => {
                    dispatcher.announce();
                    assert_eq!(dispatcher.pump(&mut sink), []);
                }
                Err(Full::TooLarge) => panic!("it fits"),
            }
        };
        expected.push((request_id, [path.as_bytes(), &body].concat()));
        if dispatcher.unannounced() > 8 {
            dispatcher.announce();
        }
    }
    dispatcher.announce();
    pump_until(&mut dispatcher, &mut sink, 5_000);
    stop.store(true, SeqCst);
    (0..3).for_each(|slot| {
        wake_child(
            &exchange,
            ChildId {
                slot,
                incarnation: 1,
            },
        )
    });
    let served: usize = children
        .into_iter()
        .map(|child| child.join().unwrap())
        .sum();
    assert_eq!(served, 5_000);
    // What threads do at the same time is not taken for an overwritten queue.
    assert_eq!(dispatcher.queue_repairs(), 0);
    assert_eq!(
        (0..3)
            .map(|slot| exchange.scoreboard().served(slot))
            .sum::<u64>(),
        5_000
    );
    for (request_id, answer) in expected {
        assert_eq!(sink.answers[&request_id], answer);
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
fn withdrawn_requests_make_room_and_are_never_taken() {
    let (exchange, mut dispatcher) = exchange(1, 1, 3);
    // Many more than the queue has entries.
    for number in 0..1_000 {
        let request_id = dispatcher
            .offer(&request(&format!("/gone/{number}"), b""))
            .unwrap();
        assert!(dispatcher.give_up(request_id));
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
fn a_body_in_a_file_is_fetched_by_the_thread_that_has_the_request() {
    use std::io::{Read, Write};
    let (exchange, mut dispatcher) = exchange(1, 1, 1);
    let (mut bytes, plain) = (Vec::new(), request("/", b""));
    let offered = Request {
        body: Body::File(5),
        ..Request::decode(&plain).unwrap()
    };
    offered.encode(&mut bytes);
    let request_id = dispatcher.offer(&bytes).unwrap();
    let thread = {
        let exchange = Arc::clone(&exchange);
        thread::Builder::new()
            .spawn(move || {
                let mut worker = Worker::new(exchange, CHILD, 0, Original::here());
                let mut claim = worker.take(&AtomicBool::new(false)).unwrap();
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
    let mut sink = Collected::default();
    let mut asked = || loop {
        let _ = dispatcher.read_fd_channel(&mut sink);
        if let Some(wanted) = sink.asked.pop() {
            break wanted;
        }
        thread::yield_now();
    };
    let first = asked();
    assert_eq!(first.request_id, request_id);
    // A pipe stands for the file: it, too, is read through its descriptor.
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
fn the_load_has_the_busy_threads_and_the_waiting_requests() {
    let (exchange, mut dispatcher) = exchange(2, 2, 8);
    let stop = AtomicBool::new(false);
    for path in ["/a", "/b", "/c", "/d"] {
        dispatcher.offer(&request(path, b"")).unwrap();
    }
    assert_eq!(exchange.load().busy, [0, 0]);
    assert_eq!(exchange.load().waiting(), 4);
    let other = ChildId {
        slot: 1,
        incarnation: 1,
    };
    let mut workers: Vec<_> = [(CHILD, 0), (other, 0), (other, 1)]
        .map(|(child, thread)| Worker::new(Arc::clone(&exchange), child, thread, Original::here()))
        .into();
    let claims: Vec<_> = workers
        .iter_mut()
        .map(|worker| worker.take(&stop).unwrap())
        .collect();
    let load = exchange.load();
    assert_eq!((load.busy.as_slice(), load.waiting()), (&[1, 2][..], 1));
    assert_eq!((load.offered, load.taken), (4, 3));
    drop(claims);
    dispatcher.pump(&mut Collected::default());
    assert_eq!(exchange.load().busy, [0, 0]);
}
