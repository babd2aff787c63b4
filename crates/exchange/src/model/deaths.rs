//! A process that is killed before any one step loses only the requests that it had taken.

use std::sync::Mutex;

use loom::thread;

use super::*;
use crate::sync::killable::kill_after;

/// Runs the model with its thread killed after 0, 1, 2 … steps, until the thread ends before it is killed.
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
        let victim = {
            let mut worker = worker(&exchange, 0, 0);
            thread::spawn(move || {
                kill_after(steps, || serve_one(&mut worker, &AtomicBool::new(false))).is_some()
            })
        };
        for path in ["a", "b"] {
            dispatcher.offer(&request(path)).unwrap();
            dispatcher.announce();
        }
        let survived = victim.join().unwrap();
        let survivor = {
            let mut worker = worker(&exchange, 1, 0);
            thread::spawn(move || assert!(serve_one(&mut worker, &AtomicBool::new(false))))
        };
        let mut answers = Answers::default();
        dispatcher.gone(child(0), &mut answers);
        survivor.join().unwrap();
        answers.wait_for(answers.count(), &exchange, &mut dispatcher);
        assert!(answers.lost.len() <= 1 && !(survived && answers.lost.len() == 1));
        // What the dead child had not taken, and the survivor has not, waits.
        assert_eq!(answers.count() + dispatcher.waiting(), 2);
        survived
    });
}

/// A child is told to stop while it is being woken for a request, and dies while it wakes another thread in its place.
#[test]
fn model_a_thread_that_a_dying_child_has_marked_as_woken_is_woken_after_its_death() {
    at_each_step(|steps| {
        let (exchange, mut dispatcher) = open(2, 1, 1);
        let stop = Arc::new(AtomicBool::new(false));
        let victim = {
            let (mut worker, stop) = (worker(&exchange, 0, 0), Arc::clone(&stop));
            thread::spawn(move || kill_after(steps, || serve_one(&mut worker, &stop)).is_some())
        };
        let survivor = {
            let mut worker = worker(&exchange, 1, 0);
            thread::spawn(move || assert!(serve_one(&mut worker, &AtomicBool::new(false))))
        };
        dispatcher.offer(&request("a")).unwrap();
        dispatcher.announce();
        stop.store(true, Ordering::Release);
        wake_child(&exchange, child(0));
        let survived = victim.join().unwrap();
        let mut answers = Answers::default();
        dispatcher.gone(child(0), &mut answers);
        if answers.count() == 1 {
            // It was the dead child's: the survivor waits for another.
            dispatcher.offer(&request("b")).unwrap();
            dispatcher.announce();
        }
        survivor.join().unwrap();
        survived
    });
}

/// A front that is killed while it reads an answer leaves no slot that is never freed, and none that is freed twice.
#[test]
fn model_a_killed_front_leaves_no_slot_that_is_never_freed() {
    at_each_step(|steps| {
        let (exchange, mut dispatcher) = open(1, 1, 1);
        let slots = dispatcher.free_slots();
        dispatcher.offer(&request("a")).unwrap();
        assert!(serve_one(
            &mut worker(&exchange, 0, 0),
            &AtomicBool::new(false)
        ));
        let survived = kill_after(steps, move || {
            dispatcher.pump(&mut Answers::default());
        });
        let mut next = Dispatcher::open(exchange);
        assert_eq!(next.pump(&mut Answers::default()), []);
        assert_eq!(next.free_slots(), slots);
        survived.is_some()
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
        let survived = kill_after(steps, move || {
            dispatcher.offer(&request("a")).unwrap();
            dispatcher.announce();
        });
        let mut next = Dispatcher::open(Arc::clone(&exchange));
        next.offer(&request("b")).unwrap();
        next.announce();
        child.join().unwrap();
        survived.is_some()
    });
}
