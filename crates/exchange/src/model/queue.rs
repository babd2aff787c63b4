//! The queue while a thread claims and the front changes it.

use loom::thread;

use super::*;

/// A thread that claims once, without waiting.
fn claim(exchange: &Arc<Exchange>) -> thread::JoinHandle<Option<RequestId>> {
    let exchange = Arc::clone(exchange);
    thread::spawn(move || exchange.queue().claim(owner()))
}

fn owner() -> Owner {
    Owner {
        child: child(0),
        thread: 0,
    }
}

#[test]
fn model_a_request_is_either_withdrawn_or_claimed() {
    check(3, || {
        let (exchange, mut dispatcher) = open(1, 1, 1);
        let request_id = dispatcher.offer(&request("a")).unwrap();
        let child = claim(&exchange);
        let withdrawn = dispatcher.withdraw(request_id);
        assert_eq!(child.join().unwrap().is_some(), !withdrawn);
    });
}

#[test]
fn model_a_queue_that_begins_anew_loses_none_that_waits() {
    check(3, || {
        let (exchange, mut dispatcher) = open(1, 1, 2);
        let [first, second] = ["a", "b"].map(|path| dispatcher.offer(&request(path)).unwrap());
        let child = claim(&exchange);
        dispatcher.withdraw(first);
        dispatcher.renew_queue();
        let mut claimed: Vec<RequestId> = child.join().unwrap().into_iter().collect();
        claimed.extend(exchange.queue().claim(owner()));
        // The first may have been taken before it was withdrawn; the second is always taken, and once.
        assert!(
            claimed == [second] || claimed == [first, second],
            "{claimed:?}"
        );
    });
}

/// A thread that looks while the queue begins anew must not find it empty, or it would park.
#[test]
fn model_a_queue_that_begins_anew_is_never_empty_to_a_thread_that_parks() {
    check(3, || {
        let (exchange, mut dispatcher) = open(1, 1, 1);
        dispatcher.offer(&request("a")).unwrap();
        let child = {
            let mut worker = worker(&exchange, 0, 0);
            thread::spawn(move || assert!(serve_one(&mut worker, &AtomicBool::new(false))))
        };
        dispatcher.announce();
        dispatcher.renew_queue();
        child.join().unwrap();
    });
}

/// The queue agrees with the front's notes, whatever a thread does meanwhile.
#[test]
fn model_a_queue_that_threads_use_is_not_taken_for_overwritten() {
    check(3, || {
        let (exchange, mut dispatcher) = open(1, 1, 2);
        for path in ["a", "b"] {
            dispatcher.offer(&request(path)).unwrap();
        }
        let child = claim(&exchange);
        for _ in 0..2 {
            assert_eq!(dispatcher.pump(&mut Answers::default()), []);
        }
        assert!(child.join().unwrap().is_some());
        assert_eq!(dispatcher.queue_repairs(), 0);
    });
}
