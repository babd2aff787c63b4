//! The rule that cannot snowball.

use std::time::Duration;

use super::scoreboard::{Bench, uncorrected};
use crate::Event::{Born, DiedStarting, ForkFailed};
use crate::{Demand, Directives, Mold, Mpm, Pool, Safe, Weight};

pub(super) const MIB: u64 = 1 << 20;

/// Two to four spare children, ten at most.
fn small() -> Directives {
    Directives {
        start_servers: 2,
        min_spare: 2,
        max_spare: 4,
        max_request_workers: 10,
        ..Directives::apache_2009(Mpm::Prefork)
    }
}

fn safe(directives: Directives, cores: u16, memory_budget: Option<u64>) -> Bench {
    let elastic = uncorrected(directives);
    let pool = Pool::Safe(Safe {
        elastic,
        cores,
        memory_budget,
    });
    Bench::new(pool, elastic)
}

/// A pool on four cores whose first children are there.
fn started() -> Bench {
    let mut bench = safe(small(), 4, None);
    bench.check(&[(0.0, "", &[], "+0..1"), (1.0, "__", &[], "")]);
    bench
}

fn waiting(waiting: u32, millis: u64) -> Demand {
    Demand {
        waiting,
        longest_wait: Duration::from_millis(millis),
    }
}

#[test]
fn the_first_children_start_no_more_at_a_time_than_there_are_cores() {
    let directives = Directives {
        start_servers: 5,
        min_spare: 5,
        max_spare: 10,
        ..small()
    };
    safe(directives, 2, None).check(&[
        (0.0, "", &[], "+0..1"),
        (0.1, "oo", &[], ""),
        (0.2, "SS", &[Born], ""),
        (2.0, "_S", &[], "+2"),
        (2.1, "__S", &[], "+3"),
        (4.0, "____", &[], "+4"),
        (6.0, "_____", &[], ""),
    ]);
}

/// Two children serve on so many cores, of which they use `computing` thousandths; ten children are lacking.
fn check_under_load(cores: u16, computing: Option<u32>, decision: &str) {
    let directives = Directives {
        min_spare: 10,
        max_spare: 12,
        max_request_workers: 40,
        ..small()
    };
    let mut bench = safe(directives, cores, None);
    bench.look(0.0, "", &[]);
    bench.computing = computing;
    bench.check(&[(1.0, "WW", &[], decision)]);
}

#[test]
fn once_children_serve_others_start_on_half_of_the_cores() {
    for (cores, decision) in [(0, "+2"), (1, "+2"), (3, "+2"), (4, "+2..3"), (8, "+2..5")] {
        check_under_load(cores, None, decision);
    }
}

#[test]
fn as_many_start_as_serving_children_leave_cores() {
    for (computing, decision) in [
        (0, "+2..5"),
        (750, "+2..5"),
        (751, "+2..4"),
        (1750, "+2..4"),
        (1751, "+2..3"),
        (4000, "+2..3"),
        (9999, "+2..3"),
    ] {
        check_under_load(4, Some(computing), decision);
    }
    check_under_load(2, Some(600), "+2..3");
    check_under_load(2, Some(900), "+2");
    check_under_load(1, Some(0), "+2");
    check_under_load(0, Some(u32::MAX), "+2");
}

#[test]
fn children_that_start_already_take_their_cores() {
    let mut bench = safe(small(), 4, None);
    bench.look(0.0, "", &[]);
    bench.computing = Some(0);
    bench.demand = waiting(6, 500);
    bench.check(&[
        (1.0, "WW", &[], "+2..5"),
        (1.1, "WWSSSS", &[], ""),
        (2.0, "WWWSSS", &[], "+6"),
    ]);
    bench.computing = Some(1500);
    bench.check(&[(2.1, "WWWWSSS", &[], ""), (2.2, "WWWWWSS", &[], "+7")]);
}

#[test]
fn as_many_are_started_as_are_lacking_and_no_more() {
    let mut bench = safe(small(), 8, None);
    bench.check(&[
        (0.0, "", &[], "+0..1"),
        (1.0, "W_", &[], "+2"),
        (2.0, "WWW", &[], "+3..4"),
        (3.0, "WWW__", &[], ""),
    ]);
}

#[test]
fn growth_does_not_wait_for_a_second_to_pass() {
    started().check(&[
        (1.1, "WW", &[], "+2..3"),
        (1.12, "WWWW", &[], "+4..5"),
        (1.14, "WWWWWW", &[], "+6..7"),
    ]);
}

#[test]
fn the_pool_is_looked_at_four_times_a_second_whatever_happens() {
    let mut bench = started();
    for board in ["__", "WW", "WWWWWWWWWW", "__________"] {
        bench.look(2.0, board, &[]);
        assert_eq!(bench.next_look, Some(Duration::from_millis(2250)));
    }
}

#[test]
fn a_starting_child_counts_as_what_it_will_be() {
    started().check(&[
        (2.0, "WW", &[], "+2..3"),
        (3.0, "WWSS", &[], ""),
        (60.0, "WWSS", &[], ""),
        (61.0, "WWWS", &[], "+4"),
        (62.0, "WWWSS", &[], ""),
    ]);
}

#[test]
fn requests_that_wait_too_long_call_for_a_child_each() {
    let mut bench = safe(small(), 8, None);
    bench.look(0.0, "", &[]);
    bench.demand = waiting(3, 99);
    bench.check(&[(1.0, "WW__", &[], "")]);
    bench.demand = waiting(3, 100);
    bench.check(&[(1.1, "WW__", &[], "+4..6")]);
    // The starting children are for the waiting requests.
    bench.check(&[(1.2, "WW__SSS", &[], "")]);
}

#[test]
fn requests_that_wait_although_threads_are_idle_call_for_one_child_at_a_time() {
    let directives = Directives {
        mpm: Mpm::Worker,
        threads_per_child: 4,
        thread_limit: 4,
        max_spare: 7,
        max_request_workers: 40,
        ..small()
    };
    let mut bench = safe(directives, 2, None);
    bench.look(0.0, "", &[]);
    bench.demand = waiting(1, 500);
    bench.check(&[
        (1.0, "W___ W___", &[], "+2"),
        (2.0, "W___ W___ SSSS", &[], ""),
        (3.0, "W___ W___ W___", &[], "+3"),
    ]);
}

#[test]
fn threads_are_rounded_up_to_children() {
    let directives = Directives {
        mpm: Mpm::Worker,
        threads_per_child: 4,
        thread_limit: 4,
        min_spare: 5,
        max_spare: 10,
        max_request_workers: 40,
        ..small()
    };
    let mut bench = safe(directives, 8, None);
    bench.check(&[
        (0.0, "", &[], "+0..1"),
        (1.0, "WWWW WWW_", &[], "+2"),
        (2.0, "WWWW WWWW", &[], "+2..3"),
    ]);
}

#[test]
fn the_limit_holds_and_is_logged_once_until_the_pool_has_shrunk() {
    let mut bench = started();
    bench.check(&[
        (2.0, "WWWWWWWWW", &[], "+9"),
        (3.0, "WWWWWWWWWW", &[], "reached"),
        (4.0, "WWWWWWWWWW", &[], ""),
        (10.0, "__________", &[], ""),
        (40.0, "__________", &[], "-9"),
        (41.0, "WWWWWWWWWG", &[], "reached"),
    ]);
}

#[test]
fn children_that_die_while_starting_slow_the_pool_down() {
    let mut bench = started();
    bench.check(&[
        (2.0, "WW", &[], "+2..3"),
        // At once, but only one, to find out whether starts work.
        (3.0, "WW", &[DiedStarting], "+2"),
        (4.0, "WW", &[DiedStarting], ""),
        (4.1, "WW", &[], "+2"),
        (5.0, "WW", &[DiedStarting], ""),
        (5.2, "WW", &[], "+2"),
        (5.3, "WWS", &[], ""),
    ]);
}

#[test]
fn failed_forks_slow_the_pool_down() {
    let mut bench = started();
    bench.check(&[
        (2.0, "WW", &[], "+2..3"),
        (2.1, "WW", &[ForkFailed, ForkFailed], ""),
        (3.0, "WW", &[], ""),
        (3.1, "WW", &[], "+2"),
        (3.2, "WWo", &[], ""),
        (3.3, "WWS", &[Born], "+3"),
    ]);
}

#[test]
fn only_a_mold_starts_children() {
    let mut bench = started();
    bench.mold = Mold::Leaving;
    bench.check(&[(2.0, "WW", &[], "")]);
}

#[test]
fn too_many_idle_children_leave_one_by_one_after_a_while() {
    started().check(&[
        (2.0, "W______W", &[], ""),
        (31.9, "W______W", &[], ""),
        (32.0, "W______W", &[], "-6"),
        (32.5, "W_____.W", &[], ""),
        (33.0, "W_____.W", &[], "-5"),
        (34.0, "W____..W", &[], ""),
        (99.0, "W____..W", &[], ""),
    ]);
}

#[test]
fn a_load_that_comes_back_restarts_the_period() {
    started().check(&[
        (2.0, "________", &[], ""),
        (30.0, "WWWW____", &[], ""),
        (31.0, "________", &[], ""),
        (60.9, "________", &[], ""),
        (61.0, "________", &[], "-7"),
    ]);
}

#[test]
fn no_child_leaves_while_requests_wait_or_children_start() {
    let mut bench = started();
    bench.check(&[(2.0, "________", &[], ""), (31.0, "_______S", &[], "")]);
    bench.check(&[(33.0, "________", &[], "")]);
    bench.demand = waiting(1, 1);
    bench.check(&[(62.0, "________", &[], "")]);
    bench.demand = Demand::default();
    bench.check(&[(64.0, "________", &[], ""), (94.0, "________", &[], "-7")]);
}

#[test]
fn only_a_child_without_any_request_leaves() {
    let directives = Directives {
        mpm: Mpm::Worker,
        threads_per_child: 4,
        thread_limit: 4,
        max_spare: 7,
        max_request_workers: 40,
        ..small()
    };
    let mut bench = safe(directives, 2, None);
    bench.look(0.0, "", &[]);
    bench.check(&[
        (1.0, "W___ W___ W___", &[], ""),
        (99.0, "W___ W___ W___", &[], ""),
        (99.5, "W___ ____ W___", &[], "-1"),
    ]);
}

/// Shared 100 MiB, 30 MiB for each child.
fn article() -> Option<Weight> {
    Some(Weight {
        shared: 100 * MIB,
        private: 30 * MIB,
    })
}

#[test]
fn with_a_budget_one_child_is_measured_before_others_start() {
    let mut bench = safe(small(), 2, Some(512 * MIB));
    bench.check(&[
        (0.0, "", &[], "+0"),
        (1.0, "S", &[], ""),
        (2.0, "_", &[], ""),
    ]);
    bench.weight = article();
    bench.check(&[(3.0, "_", &[], "+1"), (4.0, "__", &[], "")]);
}

#[test]
fn growth_ends_at_the_budget_and_that_is_logged_once() {
    let mut bench = safe(small(), 4, Some(250 * MIB));
    bench.weight = article();
    bench.check(&[
        (0.0, "", &[], "+0..1"),
        (1.0, "WW", &[], "+2..3"),
        (2.0, "WWWW", &[], "+4"),
        (3.0, "WWWWW", &[], "budget(5)"),
        (4.0, "WWWWW", &[], ""),
        (5.0, "WWWWG", &[], ""),
    ]);
}

#[test]
fn a_budget_that_holds_no_child_holds_one() {
    let mut bench = safe(small(), 2, Some(MIB));
    bench.weight = article();
    bench.check(&[
        (0.0, "", &[], "+0"),
        (1.0, "W", &[], "budget(1)"),
        (99.0, "_", &[], ""),
        (999.0, "_", &[], ""),
    ]);
}

#[test]
fn children_that_have_grown_out_of_the_budget_leave_when_they_are_idle() {
    let mut bench = safe(small(), 2, Some(250 * MIB));
    bench.weight = article();
    bench.check(&[(0.0, "", &[], "+0..1"), (1.0, "WWWWW", &[], "budget(5)")]);
    bench.weight = Some(Weight {
        private: 50 * MIB,
        ..article().unwrap()
    });
    bench.check(&[
        (2.0, "WWW__", &[], ""),
        (32.0, "WWW__", &[], "-4"),
        (33.0, "WWW_", &[], "budget(3)"),
    ]);
}
