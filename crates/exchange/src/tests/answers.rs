//! How answers come to the front.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc;
use std::thread;

use super::*;

#[test]
fn a_thread_that_answers_a_given_up_request_gets_an_error_and_its_slot_is_freed() {
    let (exchange, mut dispatcher) = exchange(1, 1, 1);
    let mut worker = Worker::new(Arc::clone(&exchange), CHILD, 0, Original::here());
    let stop = AtomicBool::new(false);
    for _ in 0..50 {
        let request_id = dispatcher.offer(&request("/", b"")).unwrap();
        let mut claim = worker.take(&stop).unwrap();
        assert_eq!(exchange.in_flight(CHILD).len(), 1);
        assert!(!dispatcher.give_up(request_id));
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
fn a_slow_reader_blocks_its_own_thread_only() {
    let (exchange, mut dispatcher) = exchange(2, 1, 8);
    let request_id = dispatcher.offer(&request("/", b"")).unwrap();
    let (sender, receiver) = mpsc::channel();
    let large = {
        let exchange = Arc::clone(&exchange);
        thread::Builder::new()
            .spawn(move || {
                let mut worker = Worker::new(exchange, CHILD, 0, Original::here());
                let mut claim = worker.take(&AtomicBool::new(false)).unwrap();
                let (_, reply) = claim.split().unwrap();
                assert!(!reply.fits(1_000_000));
                sender.send(()).unwrap();
                reply
                    .send(Some(&HEAD), &vec![7; 1_000_000], After::Complete)
                    .unwrap();
            })
            .unwrap()
    };
    receiver.recv().unwrap();
    let mut sink = Collected {
        wish: Some(Wish::Later),
        ..Collected::default()
    };
    while !dispatcher.has_stalled() {
        assert_eq!(dispatcher.pump(&mut sink), []);
    }
    assert!(sink.answers.is_empty() && !large.is_finished());

    let other = dispatcher.offer(&request("/", b"")).unwrap();
    let mut worker = Worker::new(
        Arc::clone(&exchange),
        ChildId {
            slot: 1,
            incarnation: 1,
        },
        0,
        Original::here(),
    );
    let mut claim = worker.take(&AtomicBool::new(false)).unwrap();
    send(&mut claim, b"quick", After::Complete).unwrap();
    drop(claim);
    assert_eq!(dispatcher.pump(&mut sink), []);
    assert_eq!(sink.answers[&other], b"quick");

    sink.wish = None;
    pump_until(&mut dispatcher, &mut sink, 2);
    large.join().unwrap();
    assert_eq!(sink.answers[&request_id], vec![7; 1_000_000]);
}

#[test]
fn a_complete_answer_is_left_in_the_ring_only_where_there_is_no_room() {
    for (wish, stays) in [(Wish::Later, false), (Wish::Nothing, true)] {
        let (exchange, mut dispatcher) = exchange(1, 1, 1);
        let request_id = dispatcher.offer(&request("/", b"")).unwrap();
        let mut worker = Worker::new(exchange, CHILD, 0, Original::here());
        let mut claim = worker.take(&AtomicBool::new(false)).unwrap();
        send(&mut claim, b"whole", After::Complete).unwrap();
        drop(claim);
        let mut sink = Collected {
            wish: Some(wish),
            ..Collected::default()
        };
        assert_eq!(dispatcher.pump(&mut sink), []);
        assert_eq!(sink.answers.is_empty(), stays);
        sink.wish = None;
        assert_eq!(dispatcher.pump(&mut sink), []);
        assert_eq!(sink.answers[&request_id], b"whole");
    }
}

#[test]
fn a_claim_that_is_dropped_without_an_end_is_broken_off() {
    let (exchange, mut dispatcher) = exchange(1, 1, 1);
    let request_id = dispatcher.offer(&request("/", b"")).unwrap();
    drop(
        Worker::new(exchange, CHILD, 0, Original::here())
            .take(&AtomicBool::new(false))
            .unwrap(),
    );
    let mut sink = Collected::default();
    assert_eq!(dispatcher.pump(&mut sink), []);
    assert_eq!(sink.ended, [(request_id, After::Broken)]);
}

#[test]
fn a_file_is_on_the_channel_before_the_last_frame_is_in_the_ring() {
    let (exchange, mut dispatcher) = exchange(1, 1, 1);
    let mut sink = Collected::default();
    let request_id = dispatcher.offer(&request("/", b"")).unwrap();
    let mut worker = Worker::new(Arc::clone(&exchange), CHILD, 0, Original::here());
    let mut claim = worker.take(&AtomicBool::new(false)).unwrap();
    let (reader, _writer) = std::io::pipe().unwrap();
    let extent = Extent {
        file: reader.into(),
        offset: 7,
        length: 1 << 40,
    };
    let (_, reply) = claim.split().unwrap();
    reply.send_file(Some(&HEAD), extent).unwrap();
    assert!(dispatcher.pump(&mut sink).is_empty());
    assert_eq!(sink.ended, [(request_id, After::File)]);
    let [(given, extent)] = &sink.given[..] else {
        panic!("nothing was on the channel");
    };
    assert_eq!(
        (*given, extent.offset, extent.length),
        (request_id, 7, 1 << 40)
    );
    assert_eq!(
        dispatcher.read_fd_channel(&mut sink).unwrap_err().kind(),
        std::io::ErrorKind::WouldBlock
    );
}

#[test]
fn a_second_head_makes_the_child_corrupt() {
    let (exchange, mut dispatcher) = exchange(1, 1, 1);
    let request_id = dispatcher.offer(&request("/", b"")).unwrap();
    let mut worker = Worker::new(Arc::clone(&exchange), CHILD, 0, Original::here());
    let mut claim = worker.take(&AtomicBool::new(false)).unwrap();
    let mut sink = Collected::default();
    send(&mut claim, b"first", After::More).unwrap();
    assert_eq!(dispatcher.pump(&mut sink), []);
    send(&mut claim, b"second", After::Complete).unwrap();
    assert_eq!(dispatcher.pump(&mut sink), [CHILD]);
    assert_eq!(sink.answers[&request_id], b"first");
    // The child is killed for it.
    drop(claim);
    dispatcher.gone(CHILD, &mut sink);
    assert_eq!((sink.lost, sink.ended), (vec![request_id], vec![]));
}
