//! Apache's worker, where it differs from prefork.

use super::scoreboard::{Bench, reaped};
use crate::{Directives, Event, Exit, Generation, Mpm};

/// Children of two threads: two to five spare threads, five children at most.
fn small() -> Directives {
    Directives {
        start_servers: 2,
        min_spare: 2,
        max_spare: 5,
        max_request_workers: 10,
        threads_per_child: 2,
        ..Directives::shipped(Mpm::Worker)
    }
}

#[test]
fn idle_threads_are_counted_and_whole_children_started() {
    Bench::started(small()).check(&[
        (1.0, "W_ W_", &[], ""),
        (2.0, "WW W_", &[], "+2"),
        (3.0, "WW WW W_", &[], "+3..4"),
    ]);
}

#[test]
fn every_thread_of_a_starting_child_counts_as_idle() {
    Bench::started(small()).check(&[(1.0, "WW SS", &[], ""), (2.0, "WW oo", &[], "")]);
}

#[test]
fn the_rate_doubles_up_to_32_children() {
    let mut bench = Bench::started(Directives {
        max_request_workers: 400,
        server_limit: 200,
        ..small()
    });
    let mut children = 2;
    let mut started = Vec::new();
    for (second, next) in (1..).zip([3, 5, 9, 17, 33, 65, 97, 129]) {
        bench.look(f64::from(second), &"W".repeat(children * 2), &[]);
        started.push(next - children);
        children = next;
    }
    assert_eq!(started, [1, 2, 4, 8, 16, 32, 32, 32]);
    let board = "W".repeat(children * 2);
    assert_eq!(bench.look(9.0, &board, &[]), "busy(32, 0, 129) +129..160");
    // Worker logs how many are started, not the rate.
    let board = "W".repeat(190 * 2);
    assert_eq!(bench.look(10.0, &board, &[]), "busy(10, 0, 190) +190..199");
}

#[test]
fn one_child_a_second_is_told_to_go_when_too_many_threads_are_idle() {
    Bench::started(small()).check(&[
        (1.0, "__ __ W_ W_", &[], "-1"),
        (1.5, "__ GG W_ W_", &[], ""),
        (2.0, "__ .. W_ W_", &[], ""),
        (3.0, "__ .. __ __", &[], "-3"),
    ]);
}

#[test]
fn with_no_child_quite_idle_the_one_with_the_fewest_requests_goes() {
    let directives = Directives {
        threads_per_child: 4,
        max_request_workers: 20,
        max_spare: 7,
        ..small()
    };
    Bench::started(directives).check(&[(1.0, "WW__ W___ WW__ WWW_", &[], "-1")]);
}

#[test]
fn the_threads_of_a_child_that_was_told_to_go_are_not_idle() {
    Bench::started(small()).check(&[(1.0, "GG GG W_", &[], "+3")]);
}

#[test]
fn full_and_nearly_full_are_each_logged_once() {
    Bench::started(small()).check(&[
        (1.0, "WW WW WW WW W_", &[], "near"),
        (2.0, "WW WW WW WW WW", &[], "reached"),
        (3.0, "WW WW WW WW W_", &[], ""),
        (4.0, "WW WW WW WW WW", &[], ""),
    ]);
}

#[test]
fn a_scoreboard_full_of_leaving_children_is_logged_each_time() {
    Bench::started(small()).check(&[
        (1.0, "WW WW WW GG GG", &[], "full"),
        (2.0, "WW WW WW GG gg", &[], "full"),
        (3.0, "WW WW WW .. GG", &[], "+3"),
    ]);
}

#[test]
fn a_sick_child_before_any_was_healthy_ends_the_server() {
    Bench::started(small()).check(&[
        (0.5, "SS ..", &[reaped(1, Exit::Sick)], ""),
        (1.0, "SS ..", &[], ""),
        (2.0, "SS ..", &[], "never healthy"),
    ]);
}

#[test]
fn a_sick_child_beside_a_healthy_one_only_cuts_the_rate() {
    Bench::started(small()).check(&[
        (1.0, "WW WW", &[], "+2"),
        (1.4, "WW WW WW", &[], ""),
        (1.5, "WW WW ..", &[reaped(2, Exit::Sick)], ""),
        (2.0, "WW WW ..", &[], "+3..4"),
        (3.0, "WW WW .. WW WW", &[], "+2"),
        (4.0, "WW WW .. WW WW", &[], "+2"),
    ]);
}

#[test]
fn a_sick_child_is_forgotten_once_a_healthy_one_was_seen() {
    Bench::started(small()).check(&[
        (0.5, "SS SS", &[], ""),
        (0.6, "SS ..", &[reaped(1, Exit::Sick)], ""),
        (1.0, "SS ..", &[], ""),
        (2.0, "WW .. __", &[], ""),
        (2.5, "GG .. GG", &[Event::GracefulRestart], ""),
        (3.5, "GG .. GG", &[], "+1 +3"),
        (4.5, "GG SS GG SS", &[], ""),
    ]);
}

#[test]
fn after_a_restart_a_healthy_child_has_to_be_seen_anew() {
    Bench::started(small()).check(&[
        (1.0, "__ __", &[], ""),
        (1.5, "GG GG", &[Event::GracefulRestart], ""),
        (2.5, "GG GG", &[], "+2..3"),
        (2.6, "GG GG SS ..", &[reaped(3, Exit::Sick)], ""),
        (3.5, "GG GG SS ..", &[], ""),
        (4.5, "GG GG SS ..", &[], "never healthy"),
    ]);
}

#[test]
fn a_fatal_exit_of_an_earlier_generation_counts_as_sick() {
    let exit = Exit::Fatal(Generation::Earlier);
    Bench::started(small()).check(&[
        (0.5, "SS ..", &[reaped(1, exit)], ""),
        (1.0, "SS ..", &[], ""),
        (2.0, "SS ..", &[], "never healthy"),
    ]);
}

#[test]
fn a_fatal_exit_ends_the_server() {
    let exit = Exit::Fatal(Generation::Current);
    Bench::started(small()).check(&[
        (0.5, "__ ..", &[reaped(1, exit)], ""),
        (1.0, "__ ..", &[], "fatal 1"),
    ]);
}

#[test]
fn a_child_killed_by_a_signal_is_replaced_as_soon_as_it_is_noticed() {
    Bench::started(small()).check(&[
        (0.5, "__ __", &[], ""),
        (0.6, "__ ..", &[reaped(1, Exit::Signal)], ""),
        (1.0, "__ ..", &[], "+1"),
    ]);
}

#[test]
fn children_that_exit_are_not_replaced_as_such() {
    Bench::started(small()).check(&[
        (0.5, "__ __", &[], ""),
        (0.6, "__ ..", &[reaped(1, Exit::Normal)], ""),
        (1.0, "__ ..", &[], ""),
        (2.0, "__ ..", &[], ""),
    ]);
}

#[test]
fn the_third_child_killed_within_a_second_is_not_replaced_at_once() {
    let killed: Vec<_> = (0..4).map(|slot| reaped(slot, Exit::Signal)).collect();
    Bench::started(small()).check(&[
        (0.5, "__ __ WW WW", &[], ""),
        (0.6, "", &killed, ""),
        (1.0, "", &[], "+0..1 killed"),
        (1.5, ".. __", &[killed[0]], ""),
        // A second without a kill ends the count.
        (2.0, ".. __", &[], "+0"),
    ]);
}

#[test]
fn successive_kills_are_logged_at_the_third_and_then_every_tenth() {
    let mut bench = Bench::started(Directives {
        max_request_workers: 80,
        server_limit: 40,
        ..small()
    });
    let killed: Vec<_> = (0..23).map(|slot| reaped(slot, Exit::Signal)).collect();
    bench.look(0.5, &"WW".repeat(23), &[]);
    bench.look(0.6, "", &killed);
    assert_eq!(bench.look(1.0, "", &[]), "+23 +0..1 killed killed killed");
}

#[test]
fn a_restart_forks_its_remaining_children_when_a_child_is_killed() {
    Bench::started(small()).check(&[
        (1.0, "__ __", &[], ""),
        (
            1.5,
            ".. GG",
            &[reaped(0, Exit::Signal), Event::GracefulRestart],
            "+0 +2..3",
        ),
    ]);
}
