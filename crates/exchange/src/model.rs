//! The protocols under the model checker: every order of steps that two or three threads can take (up to the
//! preemption bound), and a SIGKILL before any one step.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test -p rwsgi-exchange --release --lib model`.

use std::ops::Range;

use loom::sync::Arc;
use loom::thread;

use crate::bell::{Bell, published};
use crate::gate::Gate;
use crate::ids::{ChildId, Owner, Ticket};
use crate::queue::Queue;
use crate::sync::mortal::with_fuse;
use crate::sync::{AtomicU32, AtomicU64, Ordering};
use crate::word::{SlotWord, Word};

/// What the mapping holds, for two children of one thread.
struct Shared {
    head: AtomicU64,
    tail: AtomicU64,
    entries: Vec<AtomicU64>,
    words: Vec<SlotWord>,
    bells: Vec<Bell>,
    answered: Vec<AtomicU32>,
    front: Bell,
}

impl Shared {
    fn new(slots: usize, threads: usize) -> Arc<Self> {
        Arc::new(Self {
            head: AtomicU64::new(0),
            tail: AtomicU64::new(0),
            entries: (0..2 * slots).map(|_| AtomicU64::new(0)).collect(),
            words: (0..slots).map(|_| SlotWord::new()).collect(),
            bells: (0..threads).map(|_| Bell::new()).collect(),
            answered: (0..slots).map(|_| AtomicU32::new(0)).collect(),
            front: Bell::new(),
        })
    }

    fn queue(&self) -> Queue<'_> {
        Queue {
            head: &self.head,
            tail: &self.tail,
            entries: &self.entries,
            words: &self.words,
        }
    }

    /// As `Dispatcher::offer`: the first request of each slot is offered, in the order of the slots.
    fn push(&self, slot: u32) {
        self.queue().push(u64::from(slot), Ticket { slot, seq: 1 });
    }

    /// As `Dispatcher::renew_queue` with the first requests of these slots.
    fn renew(&self, tail: u64, slots: Range<u32>) {
        let mut line: Vec<_> = slots.map(|slot| (0, Ticket { slot, seq: 1 })).collect();
        self.queue().renew(tail, line.iter_mut());
    }

    /// As `Dispatcher::announce`.
    fn announce(&self, mut requests: usize) {
        published();
        while requests > 0 && !self.queue().is_empty() && self.bells.iter().any(Bell::ring) {
            requests -= 1;
        }
    }

    /// As `Seat::take`: waits for a request.
    fn take(&self, child: u16) -> Ticket {
        loop {
            if let Some(ticket) = self.queue().claim(owner(child)) {
                return ticket;
            }
            self.bells[usize::from(child)].sleep_unless(|| !self.queue().is_empty());
        }
    }

    /// As `Dispatcher::gone`: how many requests the dead child held.
    fn gone(&self, child: u16) -> u32 {
        self.bells[usize::from(child)].get_up();
        let mut lost = 0;
        for (word, answered) in self.words.iter().zip(&self.answered) {
            if let Word::Claimed(holder, seq) = word.read()
                && holder == owner(child)
                && answered.load(Ordering::Acquire) == 0
            {
                word.write(Word::Free(seq));
                lost += 1;
            }
        }
        self.announce(self.words.len());
        lost
    }
}

fn owner(child: u16) -> Owner {
    Owner {
        child: ChildId {
            slot: child,
            life: 0,
        },
        thread: 0,
    }
}

fn check(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}

#[test]
fn model_no_wake_up_is_lost_and_each_request_is_claimed_once() {
    check(3, || {
        let shared = Shared::new(2, 2);
        let children: Vec<_> = (0..2)
            .map(|child| {
                let shared = Arc::clone(&shared);
                thread::spawn(move || shared.take(child))
            })
            .collect();
        for slot in 0..2 {
            shared.push(slot);
            shared.announce(1);
        }
        let mut taken: Vec<u32> = children
            .into_iter()
            .map(|child| child.join().unwrap().slot)
            .collect();
        taken.sort_unstable();
        assert_eq!(taken, [0, 1]);
        assert!(shared.queue().is_empty());
    });
}

/// Two requests, two children, one of which is killed before its n-th step: the other one, after the supervisor's
/// word of the death, answers all that the dead one had not claimed.
#[test]
fn model_a_kill_at_any_step_loses_only_what_was_claimed() {
    // A life of taking one request has fewer steps than this; the last rounds prove it by living through.
    for steps in 0..24 {
        check(2, move || {
            let shared = Shared::new(2, 2);
            let mortal = {
                let shared = Arc::clone(&shared);
                thread::spawn(move || {
                    with_fuse(steps, || {
                        let ticket = shared.take(0);
                        shared.answered[ticket.slot as usize].swap(1, Ordering::AcqRel);
                    })
                })
            };
            let survivor = {
                let shared = Arc::clone(&shared);
                thread::spawn(move || {
                    let ticket = shared.take(1);
                    shared.answered[ticket.slot as usize].swap(1, Ordering::AcqRel)
                })
            };
            for slot in 0..2 {
                shared.push(slot);
                shared.announce(1);
            }
            let lived = mortal.join().unwrap().is_some();
            let lost = shared.gone(0);
            assert_eq!(survivor.join().unwrap(), 0, "answered twice");
            let answered: u32 = shared
                .answered
                .iter()
                .map(|slot| slot.load(Ordering::Acquire))
                .sum();
            let waiting = shared
                .words
                .iter()
                .filter(|word| matches!(word.read(), Word::Queued(_)))
                .count();
            assert_eq!(
                answered + lost + u32::try_from(waiting).unwrap(),
                2,
                "lived: {lived}, lost: {lost}"
            );
            assert!(lost <= 1 && !(lived && lost == 1));
        });
    }
}

/// Two threads of one child that has a limit: whoever steps back, and whenever the limit is lowered, the request is taken
/// by one of them, and nobody sleeps for ever.
#[test]
fn model_a_limit_keeps_no_request_waiting_for_nobody() {
    for limits in [[1, 1], [2, 1]] {
        check(2, move || {
            let shared = Shared::new(1, 2);
            let gate = Arc::new(Gate::new(limits[0]));
            let threads: Vec<_> = (0..2)
                .map(|thread| {
                    let (shared, gate) = (Arc::clone(&shared), Arc::clone(&gate));
                    thread::spawn(move || work(&shared, &gate, thread))
                })
                .collect();
            shared.push(0);
            published();
            wake_one(&shared, &gate);
            gate.set(limits[1]);
            let taken = threads.into_iter().map(|thread| thread.join().unwrap());
            assert_eq!(taken.map(u32::from).sum::<u32>(), 1);
        });
    }
}

/// As `Seat::wait`, until the request is answered; tells whether this thread has taken it.
fn work(shared: &Shared, gate: &Gate, thread: usize) -> bool {
    let is_over = || shared.answered[0].load(Ordering::Acquire) == 1;
    let may_take = || gate.lets_in(thread, shared.bells.iter());
    while !is_over() {
        if may_take() && shared.queue().claim(owner(0)).is_some() {
            shared.answered[0].swap(1, Ordering::AcqRel);
            published();
            shared.bells[1 - thread].ring();
            return true;
        }
        if !shared.queue().is_empty() && !may_take() {
            published();
            wake_one(shared, gate);
        }
        shared.bells[thread]
            .sleep_unless(|| is_over() || (!shared.queue().is_empty() && may_take()));
    }
    false
}

/// As `Exchange::wake_a_thread` with one child.
fn wake_one(shared: &Shared, gate: &Gate) {
    while let Some(thread) = gate.survey(shared.bells.iter()).next {
        if shared.bells[thread].ring() {
            break;
        }
    }
}

#[test]
fn model_a_withdrawn_request_is_claimed_by_nobody_or_was_claimed_before() {
    check(3, || {
        let shared = Shared::new(2, 1);
        shared.push(0);
        let child = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.queue().claim(owner(0)).is_some())
        };
        let withdrawn = shared.queue().withdraw(Ticket { slot: 0, seq: 1 });
        assert_ne!(child.join().unwrap(), withdrawn);
    });
}

#[test]
fn model_a_queue_that_begins_anew_loses_none_that_waits() {
    check(3, || {
        let shared = Shared::new(2, 1);
        shared.push(0);
        shared.push(1);
        let child = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.queue().claim(owner(0)).map(|ticket| ticket.slot))
        };
        shared.queue().withdraw(Ticket { slot: 0, seq: 1 });
        shared.renew(2, 1..2);
        let first = child.join().unwrap();
        let second = shared.queue().claim(owner(0)).map(|ticket| ticket.slot);
        let mut claimed: Vec<u32> = first.into_iter().chain(second).collect();
        claimed.sort_unstable();
        // Slot 0 may have been taken before it was withdrawn; slot 1 is always taken, and once.
        assert!(claimed == [1] || claimed == [0, 1], "{claimed:?}");
    });
}

/// A thread that looks while the queue begins anew must not find it empty and sleep on it.
#[test]
fn model_a_queue_that_begins_anew_hides_nothing_from_a_thread_that_is_about_to_sleep() {
    check(3, || {
        let shared = Shared::new(2, 1);
        shared.push(0);
        let child = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.take(0).slot)
        };
        shared.announce(1);
        shared.renew(1, 0..1);
        assert_eq!(child.join().unwrap(), 0);
    });
}

/// What the front knows of the queue is found in it, whatever a thread does meanwhile.
#[test]
fn model_a_queue_that_threads_use_is_not_taken_for_overwritten() {
    check(3, || {
        let shared = Shared::new(2, 1);
        shared.push(0);
        shared.push(1);
        let child = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.queue().claim(owner(0)).is_some())
        };
        for slot in 0..2 {
            let oldest = (u64::from(slot), Ticket { slot, seq: 1 });
            assert!(shared.queue().agrees(2, Some(oldest)));
        }
        assert!(child.join().unwrap());
    });
}

#[test]
fn model_the_front_never_sleeps_on_an_answer() {
    check(3, || {
        let shared = Shared::new(1, 1);
        let child = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                shared.answered[0].swap(1, Ordering::AcqRel);
                published();
                shared.front.ring();
            })
        };
        while shared.answered[0].swap(0, Ordering::AcqRel) == 0 {
            shared
                .front
                .sleep_unless(|| shared.answered[0].load(Ordering::Relaxed) != 0);
        }
        child.join().unwrap();
    });
}
