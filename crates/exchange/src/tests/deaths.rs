//! Children and fronts that die, and what they leave.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;

use super::*;
use crate::slot_state::SlotState;
use crate::sync::Ordering;

#[test]
fn what_a_dead_child_had_answered_is_delivered_and_the_rest_is_lost() {
    let (exchange, mut dispatcher) = exchange(2, 2, 8);
    let stop = AtomicBool::new(false);
    let mut workers =
        [0, 1].map(|thread| Worker::new(Arc::clone(&exchange), CHILD, thread, Original::here()));
    let [answered, running, waiting] = ["/answered", "/running", "/waiting"]
        .map(|path| dispatcher.offer(&request(path, b"")).unwrap());
    let [one, two] = &mut workers;
    let mut first = one.take(&stop).unwrap();
    send(&mut first, b"done", After::Complete).unwrap();
    let mut second = two.take(&stop).unwrap();
    send(&mut second, b"half", After::More).unwrap();
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

    // The next incarnation begins with empty rings, and a second message about the former death has no effect on it.
    exchange.scoreboard().child(0).begin(2, 1);
    let mut next = Worker::new(
        Arc::clone(&exchange),
        ChildId {
            slot: 0,
            incarnation: 2,
        },
        0,
        Original::here(),
    );
    let mut claim = next.take(&stop).unwrap();
    assert_eq!(claim.split().unwrap().0.path, b"/waiting");
    let mut sink = Collected::default();
    dispatcher.gone(CHILD, &mut sink);
    assert!(sink.lost.is_empty());
    send(&mut claim, b"new", After::Complete).unwrap();
    drop(claim);
    assert_eq!(dispatcher.pump(&mut sink), []);
    assert_eq!(sink.answers[&waiting], b"new");
}

#[test]
fn a_new_front_drops_waiting_requests_and_lets_running_ones_end() {
    let (exchange, mut old) = exchange(1, 1, 4);
    let running = old.offer(&request("/running", &[1; 100_000])).unwrap();
    old.offer(&request("/waiting", b"")).unwrap();
    let mut worker = Worker::new(Arc::clone(&exchange), CHILD, 0, Original::here());
    let mut claim = worker.take(&AtomicBool::new(false)).unwrap();
    let blocks = old.free_blocks();
    drop(old);

    let mut new = Dispatcher::open(Arc::clone(&exchange));
    assert_eq!(new.free_blocks(), blocks);
    let mut sink = Collected::default();
    assert_eq!(send(&mut claim, b"not wanted", After::Complete), Err(Gone));
    drop(claim);
    assert_eq!(new.pump(&mut sink), []);
    assert!(sink.answers.is_empty());
    assert!(new.free_blocks() > blocks);

    let fresh = new.offer(&request("/fresh", b"")).unwrap();
    assert!(fresh.slot != running.slot || fresh.seq != running.seq);
    let mut claim = worker.take(&AtomicBool::new(false)).unwrap();
    assert_eq!(claim.split().unwrap().0.path, b"/fresh");
}

#[test]
fn a_child_that_writes_malformed_frames_loses_its_own_request() {
    for nonsense in [[0xff; 24], [0; 24]] {
        let (exchange, mut dispatcher) = exchange(2, 1, 4);
        let request_id = dispatcher.offer(&request("/", b"")).unwrap();
        let mut worker = Worker::new(Arc::clone(&exchange), CHILD, 0, Original::here());
        std::mem::forget(worker.take(&AtomicBool::new(false)).unwrap());
        exchange.mapping.ring(0).copy_in(0, &nonsense);
        exchange.mapping.threads()[0]
            .written
            .store(24, Ordering::Release);
        exchange.mapping.dirty()[0].fetch_or(1, Ordering::AcqRel);
        let mut sink = Collected::default();
        assert_eq!(dispatcher.pump(&mut sink), [CHILD]);
        assert_eq!(dispatcher.pump(&mut sink), []);
        dispatcher.gone(CHILD, &mut sink);
        assert_eq!((sink.lost, sink.ended), (vec![request_id], vec![]));
    }
}

#[test]
fn a_new_front_frees_a_thread_that_waited_for_the_old_one_to_read() {
    let (exchange, mut old) = exchange(1, 1, 4);
    old.offer(&request("/large", b"")).unwrap();
    let thread = {
        let exchange = Arc::clone(&exchange);
        thread::Builder::new()
            .spawn(move || {
                let mut worker = Worker::new(exchange, CHILD, 0, Original::here());
                let mut claim = worker.take(&AtomicBool::new(false)).unwrap();
                let (_, reply) = claim.split().unwrap();
                reply.send(Some(&HEAD), &vec![7; 2_000_000], After::Complete)
            })
            .unwrap()
    };
    let mut slow = Collected {
        wish: Some(Wish::Later),
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
    while !exchange.mapping.threads()[0].parker.mark_unparked() {
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
    let request_id = old.offer(&request("/", b"")).unwrap();
    let mut worker = Worker::new(Arc::clone(&exchange), CHILD, 0, Original::here());
    let mut claim = worker.take(&AtomicBool::new(false)).unwrap();
    send(&mut claim, b"x", After::Complete).unwrap();
    drop(claim);
    // Freed, and then the front dies before it counts the frame as read.
    exchange.mapping.states()[request_id.slot as usize].write(SlotState::Free(request_id.seq));
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
fn overwritten_block_numbers_are_ignored() {
    let (exchange, mut old) = exchange(1, 1, 4);
    let request_id = old.offer(&request("/", &[1; 50_000])).unwrap();
    let mut worker = Worker::new(Arc::clone(&exchange), CHILD, 0, Original::here());
    let mut claim = worker.take(&AtomicBool::new(false)).unwrap();
    for block in &exchange.mapping.slots()[request_id.slot as usize].blocks {
        block.store(u32::MAX, Ordering::Relaxed);
    }
    let all = exchange.mapping.block_count();
    send(&mut claim, b"x", After::Complete).unwrap();
    drop(claim);
    assert_eq!(old.pump(&mut Collected::default()), []);
    assert_eq!(old.free_blocks(), all);
    drop(old);
    assert_eq!(Dispatcher::open(exchange).free_blocks(), all);
}
