//! Apache's prefork, rule by rule.

use std::time::Duration;

use super::scoreboard::{Bench, reaped};
use crate::{Directives, Event, Exit, Generation, Mold, Mpm};

fn article() -> Directives {
    Directives::apache_2009(Mpm::Prefork)
}

/// Two to four spare children, ten at most.
fn small() -> Directives {
    Directives {
        start_servers: 2,
        min_spare: 2,
        max_spare: 4,
        max_request_workers: 10,
        ..article()
    }
}

#[test]
fn the_first_children_are_forked_at_once_and_looked_at_a_second_later() {
    Bench::apache(article()).check(&[
        (0.0, "", &[], "+0..4"),
        (0.5, "SWWWW", &[], ""),
        (0.9, "WWWWW", &[], ""),
        (1.0, "WWWWW", &[], "+5"),
    ]);
}

#[test]
fn more_first_children_than_the_mold_is_ordered_at_once_come_as_it_forks() {
    let mut bench = Bench::apache(Directives {
        start_servers: 40,
        max_spare: 100,
        ..article()
    });
    let (ordered, born) = ("o".repeat(32), "S".repeat(32));
    bench.check(&[
        (0.0, "", &[], "+0..31"),
        (0.1, &ordered, &[], ""),
        (0.2, &born, &[Event::Born], "+32..39"),
    ]);
}

#[test]
fn without_a_mold_nothing_is_started_yet() {
    let mut bench = Bench::apache(article());
    bench.mold = Mold::Loading {
        since: Duration::ZERO,
    };
    bench.check(&[(0.0, "", &[], ""), (5.0, "", &[], "")]);
    bench.mold = Mold::Ready {
        since: Duration::from_secs(6),
    };
    bench.check(&[(6.0, "", &[], "+0..4"), (7.0, "WWWWW", &[], "+5")]);
}

#[test]
fn from_5_to_150_children_it_takes_nine_passes() {
    let mut bench = Bench::started(article());
    let mut children = 5;
    let mut decisions = Vec::new();
    for (pass, next) in (1..).zip([6, 8, 12, 20, 36, 68, 100, 132, 150, 150]) {
        decisions.push(bench.look(f64::from(pass), &"W".repeat(children), &[]));
        children = next;
    }
    assert_eq!(
        decisions,
        [
            "+5",
            "+6..7",
            "+8..11",
            "busy(8, 0, 12) +12..19",
            "busy(16, 0, 20) +20..35",
            "busy(32, 0, 36) +36..67",
            "busy(32, 0, 68) +68..99",
            "busy(32, 0, 100) +100..131",
            // The message has the rate, not the number of slots that were left.
            "busy(32, 0, 132) +132..149",
            "reached",
        ]
    );
}

#[test]
fn as_many_are_started_as_the_rate_says_however_few_are_lacking() {
    Bench::started(article()).check(&[
        (1.0, "WWWWW", &[], "+5"),
        (2.0, "WWWWWW", &[], "+6..7"),
        (3.0, "WWWW____", &[], "+8..11"),
    ]);
}

#[test]
fn a_starting_child_counts_as_idle() {
    Bench::started(article()).check(&[
        (1.0, "WWWWWSSSSS", &[], ""),
        (2.0, "WWWWWooSSS", &[], ""),
        (3.0, "WWWWWSSSSW", &[], "+10"),
    ]);
}

#[test]
fn a_child_that_imports_in_its_first_request_does_not_count_as_idle() {
    // It is ready within milliseconds, and busy with the import: this is how the pool snowballs.
    Bench::started(article()).check(&[
        (1.0, "WWWWW", &[], "+5"),
        (2.0, "WWWWWW", &[], "+6..7"),
        (3.0, "WWWWWWWW", &[], "+8..11"),
    ]);
}

#[test]
fn a_pass_without_need_resets_the_rate() {
    Bench::started(small()).check(&[
        (1.0, "WW", &[], "+2"),
        (2.0, "WWW", &[], "+3..4"),
        (3.0, "WWW__", &[], ""),
        (4.0, "WWWW_", &[], "+5"),
    ]);
}

#[test]
fn a_pass_that_kills_resets_the_rate() {
    Bench::started(small()).check(&[
        (1.0, "WW", &[], "+2"),
        (2.0, "WWW", &[], "+3..4"),
        (3.0, "_____", &[], "-4"),
        (4.0, "WWWW", &[], "+4"),
    ]);
}

#[test]
fn a_full_pool_resets_the_rate() {
    Bench::started(small()).check(&[
        (1.0, "WW", &[], "+2"),
        (2.0, "WWW", &[], "+3..4"),
        (3.0, "WWWWWWWWWW", &[], "reached"),
        (4.0, "WWWWWWWW", &[], "+8"),
    ]);
}

#[test]
fn the_lowest_free_slots_are_taken() {
    Bench::started(small()).check(&[(1.0, "W.W", &[], "+1"), (2.0, "WW.W.", &[], "+2 +4")]);
}

#[test]
fn one_idle_child_a_second_is_told_to_go() {
    Bench::started(small()).check(&[
        (1.0, "________", &[], "-7"),
        (1.5, "_______G", &[], ""),
        (2.0, "_______", &[], "-6"),
        (3.0, "______", &[], "-5"),
        (4.0, "_____", &[], "-4"),
        (5.0, "____", &[], ""),
    ]);
}

#[test]
fn from_150_idle_children_to_10_it_takes_140_seconds() {
    let mut bench = Bench::started(article());
    for (second, idle) in (1..).zip((11..=150).rev()) {
        let decision = bench.look(f64::from(second), &"_".repeat(idle), &[]);
        assert_eq!(decision, format!("-{}", idle - 1));
    }
    assert_eq!(bench.look(141.0, &"_".repeat(10), &[]), "");
}

#[test]
fn an_idle_child_goes_before_a_busy_one_and_that_before_one_that_starts() {
    Bench::started(small()).check(&[
        (1.0, "W__SSS", &[], "-2"),
        (2.0, "WSSSSS", &[], "-0"),
        (3.0, "SSSSS", &[], "-4"),
        (4.0, "ooooo", &[], ""),
    ]);
}

#[test]
fn a_child_that_was_told_to_go_is_neither_idle_nor_a_free_slot() {
    Bench::started(small()).check(&[
        (1.0, "W_GG", &[], "+4"),
        (2.0, "W_GGGggggg", &[], "reached"),
    ]);
}

#[test]
fn reaching_the_limit_is_logged_once() {
    Bench::started(small()).check(&[
        (1.0, "WWWWWWWWWW", &[], "reached"),
        (2.0, "WWWWWWWWWW", &[], ""),
        (3.0, "________", &[], "-7"),
        (4.0, "WWWWWWWWWW", &[], ""),
    ]);
}

#[test]
fn being_busy_is_logged_from_the_rate_of_eight_on() {
    Bench::started(Directives {
        max_request_workers: 20,
        ..small()
    })
    .check(&[
        (1.0, "W", &[], "+1"),
        (2.0, "WW", &[], "+2..3"),
        (3.0, "WWWW", &[], "+4..7"),
        (4.0, "WWWWWWW_", &[], "busy(8, 1, 8) +8..15"),
    ]);
}

#[test]
fn a_death_during_the_sleep_is_replaced_a_pass_later() {
    // At 1.0 the scoreboard still shows the child of slot 1 as it was before the parent's sleep.
    Bench::started(small()).check(&[
        (0.5, "__", &[], ""),
        (0.6, "_.", &[reaped(1, Exit::Normal)], ""),
        (1.0, "_.", &[], ""),
        (2.0, "_.", &[], "+1"),
    ]);
}

#[test]
fn a_pass_that_notices_deaths_has_counted_the_dead_before() {
    // All are gone, and the pass at 1.0 only notices it.
    let all: Vec<_> = (0..5).map(|slot| reaped(slot, Exit::Normal)).collect();
    Bench::started(article()).check(&[
        (0.5, "_____", &[], ""),
        (1.0, "", &all, ""),
        (1.5, "", &[], ""),
        (2.0, "", &[], "+0"),
        (3.0, "_", &[], "+1..2"),
    ]);
}

#[test]
fn a_dead_child_is_not_replaced_as_such() {
    Bench::started(small()).check(&[
        (1.0, "____", &[], ""),
        (1.1, "__._", &[reaped(2, Exit::Signal)], ""),
        (2.0, "__._", &[], ""),
        (3.0, "__._", &[], ""),
    ]);
}

#[test]
fn deaths_in_every_second_do_not_keep_passes_away() {
    let mut bench = Bench::started(small());
    let mut seconds = 0.0;
    let mut started = 0;
    for _ in 0..20 {
        seconds += 0.5;
        let decision = bench.look(seconds, "WWW.", &[reaped(3, Exit::Normal)]);
        started += usize::from(decision.contains('+'));
    }
    assert_eq!(started, 10);
}

#[test]
fn a_sick_child_cuts_the_rate() {
    Bench::started(article()).check(&[
        (1.0, "WWWWW", &[], "+5"),
        (2.0, "WWWWWW", &[], "+6..7"),
        (2.5, "WWWWWW.W", &[reaped(6, Exit::Sick)], ""),
        // The pass comes before the death is noticed, so that only the next but one is slow.
        (3.0, "WWWWWW.W", &[], "+8..11"),
        (4.0, "WWWWWW.WWWWW", &[], "+6"),
    ]);
}

#[test]
fn a_fatal_exit_ends_the_server() {
    let exit = Exit::Fatal(Generation::Current);
    Bench::started(small()).check(&[
        (0.5, "_.", &[reaped(1, exit)], ""),
        (1.0, "_.", &[], "fatal 1"),
    ]);
}

#[test]
fn a_fatal_exit_of_an_earlier_generation_ends_nothing() {
    let exit = Exit::Fatal(Generation::Earlier);
    Bench::started(small()).check(&[
        (0.5, "__", &[], ""),
        (0.6, "_.", &[reaped(1, exit)], ""),
        (1.0, "_.", &[], ""),
        (2.0, "_.", &[], "+1"),
    ]);
}

#[test]
fn a_failed_fork_stops_everything_for_ten_seconds() {
    Bench::started(small()).check(&[
        (1.0, "WW", &[], "+2"),
        (1.1, "WW", &[Event::ForkFailed], ""),
        (2.0, "WW", &[], ""),
        (11.0, "WW", &[], ""),
        (11.1, "WW", &[], "+2..3"),
    ]);
}

#[test]
fn a_start_of_which_a_fork_fails_is_left_to_the_passes() {
    let mut bench = Bench::apache(Directives {
        start_servers: 40,
        max_spare: 100,
        ..article()
    });
    bench.check(&[
        (0.0, "", &[], "+0..31"),
        (0.1, "SSS", &[Event::Born, Event::ForkFailed], ""),
        (10.1, "___", &[], "+3"),
    ]);
}

#[test]
fn after_a_graceful_restart_each_death_is_replaced_one_for_one() {
    let (gone, deaths) = ("GG..G", [reaped(2, Exit::Normal), reaped(3, Exit::Normal)]);
    Bench::started(article()).check(&[
        (1.0, "_____", &[], ""),
        (
            1.5,
            gone,
            &[deaths[0], deaths[1], Event::GracefulRestart],
            "+2..3",
        ),
        // After a second the rest of StartServers is forked at once, and no maintenance is done.
        (2.5, "GG__G", &[], "+5..7"),
        (3.5, "GG__G___", &[], ""),
    ]);
}

#[test]
fn after_a_graceful_restart_a_sick_child_is_not_replaced_at_once() {
    let events = [
        reaped(2, Exit::Normal),
        reaped(3, Exit::Sick),
        Event::GracefulRestart,
    ];
    Bench::started(article()).check(&[
        (1.0, "_____", &[], ""),
        (1.5, "GG..G", &events, "+2"),
        (2.5, "GG_.G", &[], "+3 +5..7"),
    ]);
}

#[test]
fn the_next_look_is_a_second_away_or_when_the_parent_wakes() {
    let mut bench = Bench::apache(small());
    let mut next = |seconds, board: &str, events: &[Event]| {
        bench.look(seconds, board, events);
        bench.next_look
    };
    assert_eq!(next(0.0, "", &[]), Some(Duration::from_secs(1)));
    assert_eq!(next(0.5, "__", &[]), Some(Duration::from_secs(1)));
    assert_eq!(next(1.25, "__", &[]), Some(Duration::from_millis(2250)));
    let failed = next(1.5, "__", &[Event::ForkFailed]);
    assert_eq!(failed, Some(Duration::from_millis(11_500)));
}

#[test]
fn after_a_graceful_restart_ten_passes_do_not_double() {
    let mut bench = Bench::started(article());
    assert_eq!(bench.look(1.0, "GGGGG", &[Event::GracefulRestart]), "");
    assert_eq!(bench.look(2.0, "GGGGG", &[]), "+5..9");
    for (second, children) in (3..=12).zip(5..) {
        let board = format!(".....{}", "W".repeat(children));
        assert_eq!(bench.look(f64::from(second), &board, &[]), "+0");
    }
    let busy = ".....WWWWWWWWWW";
    bench.check(&[(13.0, busy, &[], "+0"), (14.0, busy, &[], "+0..1")]);
}

#[test]
fn children_of_a_restart_without_a_free_slot_are_dropped() {
    Bench::started(small()).check(&[
        (1.0, "GGGGGGGGGG", &[Event::GracefulRestart], ""),
        (2.0, "GGGGGGGGGG", &[], ""),
        (3.0, ".GGGGGGGGG", &[], "+0"),
    ]);
}

#[test]
fn without_a_mold_the_rate_stays() {
    let mut bench = Bench::started(small());
    bench.check(&[(1.0, "WW", &[], "+2")]);
    bench.mold = Mold::Leaving;
    bench.check(&[(2.0, "WWW", &[], ""), (3.0, "WWW", &[], "")]);
    bench.mold = Mold::Ready {
        since: Duration::from_secs(4),
    };
    bench.check(&[(4.0, "WWW", &[], "+3..4")]);
}

#[test]
fn with_too_many_pending_orders_the_rate_stays() {
    let (ordered, started) = ("o".repeat(32), "W".repeat(32));
    let directives = Directives {
        min_spare: 40,
        max_spare: 50,
        ..article()
    };
    Bench::started(directives).check(&[
        (1.0, "WWWWW", &[], "+5"),
        (2.0, &format!("WWWWWW{ordered}"), &[], ""),
        (3.0, &format!("WWWWWW{started}"), &[], "+38..39"),
    ]);
}
