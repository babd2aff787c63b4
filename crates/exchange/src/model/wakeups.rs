//! No thread stays parked while a request waits, and the front not while there are answers.

use loom::thread;

use super::*;

#[test]
fn model_no_wake_up_is_lost_and_each_request_is_answered_once() {
    check(1, || {
        let (exchange, mut dispatcher) = open(2, 1, 2);
        let children: Vec<_> = (0..2)
            .map(|slot| {
                let mut worker = worker(&exchange, slot, 0);
                thread::spawn(move || assert!(serve_one(&mut worker, &AtomicBool::new(false))))
            })
            .collect();
        let mut request_ids = Vec::new();
        for path in ["a", "b"] {
            request_ids.push(dispatcher.offer(&request(path)).unwrap());
            dispatcher.announce();
        }
        let mut answers = Answers::default();
        answers.wait_for(2, &exchange, &mut dispatcher);
        answers.ended.sort_by_key(|(_, path)| path.clone());
        let expected = [
            (request_ids[0], b"a".to_vec()),
            (request_ids[1], b"b".to_vec()),
        ];
        assert_eq!(answers.ended, expected);
        for child in children {
            child.join().unwrap();
        }
    });
}

/// One child, so that more orders of steps can be checked: the thread parks or not, and so does the front.
#[test]
fn model_neither_the_front_nor_a_thread_stays_parked_when_the_other_has_published() {
    check(3, || {
        let (exchange, mut dispatcher) = open(1, 1, 1);
        let child = {
            let mut worker = worker(&exchange, 0, 0);
            thread::spawn(move || assert!(serve_one(&mut worker, &AtomicBool::new(false))))
        };
        dispatcher.offer(&request("a")).unwrap();
        dispatcher.announce();
        let mut answers = Answers::default();
        answers.wait_for(1, &exchange, &mut dispatcher);
        assert!(answers.lost.is_empty());
        child.join().unwrap();
    });
}
