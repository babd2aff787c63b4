//! A child for which requests always wait, with a look each millisecond.

use std::time::Duration;

use proptest::prelude::*;

use crate::{ThreadLimitRule, ThreadSample};

const LOOK: Duration = Duration::from_millis(1);
const ALL: u32 = 25;

/// Processor time of one look, in thousandths, when so many threads run.
type Load = fn(u32) -> u32;

const COMPUTES: Load = |_| 1000;
const SLEEPS: Load = |running| 10 * running;
const HALF_WAITS: Load = |running| (500 * running).min(1000);
/// Without the interpreter, on four processors.
const COMPUTES_BESIDE_PYTHON: Load = |running| 1000 * running.min(4);

/// Makes so many looks; returns the limits.
fn look(rule: &mut ThreadLimitRule, load: Load, looks: usize) -> Vec<u32> {
    let mut limit = 1;
    (0..looks)
        .map(|_| {
            limit = rule.decide(&ThreadSample {
                passed: LOOK,
                computed: LOOK * load(limit) / 1000,
                computing: false,
                unparked: limit,
                held_back: limit < ALL,
                running: &[],
                lasted: &[],
            });
            limit
        })
        .collect()
}

#[test]
fn threads_that_wait_all_run_within_milliseconds() {
    let limits = look(&mut ThreadLimitRule::new(ALL), SLEEPS, 6);
    assert_eq!(limits, [2, 4, 8, 16, 25, 25]);
}

#[test]
fn threads_that_compute_run_one_at_a_time_but_for_trials() {
    let limits = look(&mut ThreadLimitRule::new(ALL), COMPUTES, 5000);
    assert!(limits.iter().all(|limit| *limit <= 2), "{limits:?}");
    let trials = |looks: &[u32]| looks.windows(2).filter(|pair| pair[0] < pair[1]).count();
    assert!(trials(&limits) >= 5, "they are not given up");
    assert!(trials(&limits[4000..]) <= 2, "but become rare");
}

#[test]
fn a_load_that_begins_to_compute_is_down_to_one_thread_soon() {
    let mut rule = ThreadLimitRule::new(ALL);
    look(&mut rule, SLEEPS, 10);
    let limits = look(&mut rule, COMPUTES, 25);
    assert_eq!(limits.last(), Some(&1), "{limits:?}");
}

#[test]
fn a_load_that_waits_for_half_of_its_time_gets_two_threads_or_three() {
    let limits = look(&mut ThreadLimitRule::new(ALL), HALF_WAITS, 1000);
    let late = &limits[20..];
    assert!(late.iter().all(|limit| (1..=4).contains(limit)), "{late:?}");
    let enough = late.iter().filter(|limit| **limit >= 2).count();
    assert!(enough * 10 >= late.len() * 9, "{enough} of {}", late.len());
}

#[test]
fn threads_that_compute_without_the_interpreter_get_all_processors() {
    let limits = look(&mut ThreadLimitRule::new(ALL), COMPUTES_BESIDE_PYTHON, 400);
    let late = &limits[150..];
    assert!(
        late.iter().all(|limit| (4..=6).contains(limit)),
        "{limits:?}"
    );
}

/// The highest limit in a thousand looks of a child that waits for a processor, and gets so much of it in each look.
fn highest_when_processors_are_rare(computed: impl Fn(u32) -> Duration) -> u32 {
    let mut rule = ThreadLimitRule::new(ALL);
    let limits = (0..1000).map(|look| {
        rule.decide(&ThreadSample {
            passed: LOOK,
            computed: computed(look),
            computing: true,
            unparked: 1,
            held_back: true,
            running: &[],
            lasted: &[],
        })
    });
    limits.max().unwrap()
}

#[test]
fn a_thread_that_waits_for_a_processor_counts_as_computing() {
    let limit = highest_when_processors_are_rare(|_| LOOK / 4);
    assert!(limit <= 2, "{limit}");
}

#[test]
fn processor_time_that_other_processes_leave_is_no_gain_of_a_trial() {
    let limit = highest_when_processors_are_rare(|look| {
        LOOK * if look % 90 < 40 { 900 } else { 50 } / 1000
    });
    assert!(limit <= 2, "{limit}");
}

#[test]
fn other_requests_do_not_wait_for_one_that_is_much_longer() {
    let ms = Duration::from_millis;
    let limit = |lasted: &[Duration], running: &[Duration]| {
        ThreadLimitRule::new(ALL).decide(&ThreadSample {
            passed: LOOK,
            computed: LOOK,
            computing: false,
            unparked: 1,
            held_back: true,
            running,
            lasted,
        })
    };
    // Without durations of others, twenty milliseconds are long.
    assert_eq!(limit(&[], &[ms(20)]), 1);
    assert_eq!(limit(&[], &[ms(21)]), 2);
    assert_eq!(limit(&[ms(1), ms(2), ms(500)], &[ms(21), ms(30)]), 3);
    // Where all take long, four times as long is long.
    assert_eq!(limit(&[ms(100), ms(100)], &[ms(400)]), 1);
    assert_eq!(limit(&[ms(100), ms(100)], &[ms(401)]), 2);
}

#[test]
fn threads_that_wait_keep_their_limit_when_processors_are_rare() {
    let mut rule = ThreadLimitRule::new(ALL);
    look(&mut rule, SLEEPS, 10);
    for number in 0..1000 {
        let limit = rule.decide(&ThreadSample {
            passed: LOOK,
            computed: LOOK / 4,
            computing: number % 10 != 0,
            unparked: ALL,
            held_back: false,
            running: &[],
            lasted: &[],
        });
        assert_eq!(limit, ALL);
    }
}

proptest! {
    #[test]
    fn the_limit_is_between_one_and_all(
        all in 0u32..300,
        looks in prop::collection::vec((0u64..9_000_000, 0u64..40_000_000, any::<[bool; 2]>(), 0u32..300, 0u64..500), 1..200),
    ) {
        let mut rule = ThreadLimitRule::new(all);
        for (passed, computed, [computing, held_back], unparked, running) in looks {
            let running = [Duration::from_millis(running)];
            let limit = rule.decide(&ThreadSample {
                passed: Duration::from_nanos(passed),
                computed: Duration::from_nanos(computed),
                computing,
                unparked,
                held_back,
                running: &running,
                lasted: &[],
            });
            prop_assert!((1..=all.max(1)).contains(&limit));
        }
    }
}
