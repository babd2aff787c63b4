//! A process that is killed before any one step takes nothing with it but the requests that it had taken.

use std::sync::Mutex;

use loom::thread;

use super::*;
use crate::sync::mortal::with_fuse;

/// Runs the model with a fuse of each length, until its mortal thread lives through.
fn at_each_step(model: impl Fn(u32) -> bool + Copy + Sync + Send + 'static) {
    for steps in 0.. {
        let killed = Arc::new(Mutex::new(0));
        let count = Arc::clone(&killed);
        check(2, move || {
            *count.lock().unwrap() += u32::from(!model(steps))
        });
        if *killed.lock().unwrap() == 0 {
            assert!(steps > 10, "the thread did nothing");
            return;
        }
    }
}

/// Two requests and two children, one of which is killed: the other one answers all that the dead one had not taken.
#[test]
fn model_a_child_that_is_killed_loses_only_what_it_had_taken() {
    at_each_step(|steps| {
        let (exchange, mut dispatcher) = open(2, 1, 2);
        let mortal = {
            let mut worker = worker(&exchange, 0, 0);
            thread::spawn(move || {
                with_fuse(steps, || serve_one(&mut worker, &AtomicBool::new(false))).is_some()
            })
        };
        for path in ["a", "b"] {
            dispatcher.offer(&request(path)).unwrap();
            dispatcher.announce();
        }
        let lived = mortal.join().unwrap();
        let survivor = {
            let mut worker = worker(&exchange, 1, 0);
            thread::spawn(move || assert!(serve_one(&mut worker, &AtomicBool::new(false))))
        };
        let mut answers = Answers::default();
        dispatcher.gone(child(0), &mut answers);
        survivor.join().unwrap();
        answers.wait_for(answers.count(), &exchange, &mut dispatcher);
        assert!(answers.lost.len() <= 1 && !(lived && answers.lost.len() == 1));
        // What the dead child had not taken, and the survivor has not, waits.
        assert_eq!(answers.count() + dispatcher.waiting(), 2);
        lived
    });
}

/// A child is told to stop while it is being woken for a request, and dies while it passes that wake-up on.
#[test]
fn model_a_thread_that_a_dying_child_has_marked_as_woken_is_woken_after_its_death() {
    at_each_step(|steps| {
        let (exchange, mut dispatcher) = open(2, 1, 1);
        let stop = Arc::new(AtomicBool::new(false));
        let mortal = {
            let (mut worker, stop) = (worker(&exchange, 0, 0), Arc::clone(&stop));
            thread::spawn(move || with_fuse(steps, || serve_one(&mut worker, &stop)).is_some())
        };
        let survivor = {
            let mut worker = worker(&exchange, 1, 0);
            thread::spawn(move || assert!(serve_one(&mut worker, &AtomicBool::new(false))))
        };
        dispatcher.offer(&request("a")).unwrap();
        dispatcher.announce();
        stop.store(true, Ordering::Release);
        wake_child(&exchange, child(0));
        let lived = mortal.join().unwrap();
        let mut answers = Answers::default();
        dispatcher.gone(child(0), &mut answers);
        if answers.count() == 1 {
            // It was the dead child's: the survivor waits for another.
            dispatcher.offer(&request("b")).unwrap();
            dispatcher.announce();
        }
        survivor.join().unwrap();
        lived
    });
}

/// A front that is killed while it reads an answer leaves no slot that nobody frees, and none that is freed twice.
#[test]
fn model_a_front_that_is_killed_leaves_each_slot_to_the_next_one() {
    at_each_step(|steps| {
        let (exchange, mut dispatcher) = open(1, 1, 1);
        let slots = dispatcher.free_slots();
        dispatcher.offer(&request("a")).unwrap();
        assert!(serve_one(
            &mut worker(&exchange, 0, 0),
            &AtomicBool::new(false)
        ));
        let lived = with_fuse(steps, move || {
            dispatcher.pump(&mut Answers::default());
        });
        let mut next = Dispatcher::open(exchange);
        assert_eq!(next.pump(&mut Answers::default()), []);
        assert_eq!(next.free_slots(), slots);
        lived.is_some()
    });
}

/// A front that is killed while it offers a request and wakes a thread for it: the thread serves the next front.
#[test]
fn model_a_thread_that_a_dying_front_has_marked_as_woken_serves_the_next_one() {
    at_each_step(|steps| {
        let (exchange, mut dispatcher) = open(1, 1, 1);
        let child = {
            let mut worker = worker(&exchange, 0, 0);
            thread::spawn(move || while !serve_one(&mut worker, &AtomicBool::new(false)) {})
        };
        let lived = with_fuse(steps, move || {
            dispatcher.offer(&request("a")).unwrap();
            dispatcher.announce();
        });
        let mut next = Dispatcher::open(Arc::clone(&exchange));
        next.offer(&request("b")).unwrap();
        next.announce();
        child.join().unwrap();
        lived.is_some()
    });
}
