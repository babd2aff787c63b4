//! A thread that may not take a request now, or no longer, wakes another one that may.

use loom::thread;

use super::*;

/// The first thread of a child computes, the second is woken for a request, and then the child's limit is lowered to 1. A
/// thread of the other child takes the request.
#[test]
fn model_a_request_is_taken_by_another_child_when_a_limit_is_lowered() {
    check(2, || {
        let (exchange, mut dispatcher) = open(2, 2, 1);
        let stop = Arc::new(AtomicBool::new(false));
        let held_back = {
            let (mut worker, stop) = (worker(&exchange, 0, 1), Arc::clone(&stop));
            thread::spawn(move || serve_one(&mut worker, &stop))
        };
        let other = {
            let (mut worker, stop) = (worker(&exchange, 1, 0), Arc::clone(&stop));
            thread::spawn(move || serve_one(&mut worker, &stop))
        };
        dispatcher.offer(&request("a")).unwrap();
        dispatcher.announce();
        exchange.scoreboard().child(0).limit.set(1);
        let mut answers = Answers::default();
        answers.wait_for(1, &exchange, &mut dispatcher);
        stop.store(true, Ordering::Release);
        for slot in 0..2 {
            wake_child(&exchange, child(slot));
        }
        assert!(held_back.join().unwrap() != other.join().unwrap());
    });
}

/// A thread that has been woken for a request, and is told to stop before it takes it, wakes another one.
#[test]
fn model_a_thread_that_stops_wakes_another_for_its_request() {
    check(2, || {
        let (exchange, mut dispatcher) = open(2, 1, 2);
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = {
            let (mut worker, stop) = (worker(&exchange, 0, 0), Arc::clone(&stop));
            thread::spawn(move || serve_one(&mut worker, &stop))
        };
        let other = {
            let mut worker = worker(&exchange, 1, 0);
            thread::spawn(move || serve_one(&mut worker, &AtomicBool::new(false)))
        };
        dispatcher.offer(&request("a")).unwrap();
        dispatcher.announce();
        stop.store(true, Ordering::Release);
        wake_child(&exchange, child(0));
        if stopping.join().unwrap() {
            dispatcher.offer(&request("b")).unwrap();
            dispatcher.announce();
        }
        assert!(other.join().unwrap());
    });
}

/// A request waits, and the only parked thread may not take it: the governor is woken, and raises the limit.
#[test]
fn model_the_governor_is_woken_when_a_thread_is_held_back() {
    check(2, || {
        let (exchange, mut dispatcher) = open(1, 2, 1);
        exchange.scoreboard().child(0).limit.set(1);
        let held_back = {
            let mut worker = worker(&exchange, 0, 1);
            thread::spawn(move || assert!(serve_one(&mut worker, &AtomicBool::new(false))))
        };
        let governor = {
            let governor = Governor::new(Arc::clone(&exchange), child(0));
            thread::spawn(move || {
                let stop = AtomicBool::new(false);
                while !governor.activity().held_back {
                    governor.sleep(&stop);
                    thread::yield_now();
                }
                governor.set_limit(2);
            })
        };
        dispatcher.offer(&request("a")).unwrap();
        dispatcher.announce();
        governor.join().unwrap();
        held_back.join().unwrap();
    });
}
