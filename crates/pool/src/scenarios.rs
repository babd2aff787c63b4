//! The rules as scenarios. A state is written as text: a letter for the mold, then one for each child slot.
//!
//! Mold: `-` absent, `l` loading, `M` ready, `x` leaving.
//! Child: `.` vacant, `o` ordered, `s` starting, `R` ready, `x` leaving, `g` gone. All since second 0.

use std::time::Duration;

use crate::Event::{self, Born, DiedStarting, ForkFailed, MoldDied};
use crate::{Action, Child, Demand, Limits, Memory, Mold, Observed, Pool, Recycling, decide};

const SINCE: Duration = Duration::ZERO;

struct Scene {
    mold: Mold,
    children: Vec<Child>,
}

fn scene(text: &str) -> Scene {
    let mut letters = text.chars();
    let mold = match letters.next() {
        Some('-') => Mold::Absent,
        Some('l') => Mold::Loading { since: SINCE },
        Some('M') => Mold::Ready { since: SINCE },
        Some('x') => Mold::Leaving,
        other => panic!("{other:?} is no mold"),
    };
    let children = letters
        .map(|letter| match letter {
            '.' => Child::Vacant,
            'o' => Child::Ordered { since: SINCE },
            's' => Child::Starting { since: SINCE },
            'R' => Child::Ready {
                since: SINCE,
                busy: 0,
            },
            'x' => Child::Leaving,
            'g' => Child::Gone,
            other => panic!("{other:?} is no child"),
        })
        .collect();
    Scene { mold, children }
}

/// The decision as text: `mold`, `kill-mold`, `+slot`, `-slot`, `@milliseconds`.
fn text(actions: &[Action]) -> String {
    let words = actions.iter().map(|action| match action {
        Action::BuildMold => "mold".to_owned(),
        Action::KillMold => "kill-mold".to_owned(),
        Action::Spawn { slot } => format!("+{slot}"),
        Action::Kill { slot } => format!("-{slot}"),
        Action::LookAgain { at } => format!("@{}", at.as_millis()),
        other => panic!("a fixed pool has no use for {other:?}"),
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Several looks with one memory: (seconds, state, events, decision).
fn check(looks: &[(f64, &str, &[Event], &str)]) {
    let mut memory = Memory::default();
    for (index, (seconds, letters, events, expected)) in looks.iter().enumerate() {
        let Scene { mold, children } = scene(letters);
        let processes = u16::try_from(children.len()).unwrap();
        let limits = Limits {
            pool: Pool::Fixed { processes },
            startup_timeout: Duration::from_secs(60),
            shutdown_timeout: Duration::from_secs(30),
            recycling: Recycling::default(),
        };
        let now = Duration::from_secs_f64(*seconds);
        let actions = decide(
            &limits,
            &mut memory,
            &Observed {
                now,
                mold,
                children: &children,
                stats: &[],
                demand: Demand::default(),
                weight: None,
                computing: None,
                events,
            },
        );
        assert_eq!(
            text(&actions),
            *expected,
            "look {index}: {letters} at {seconds}"
        );
    }
}

#[test]
fn at_the_start_the_mold_comes_at_once_and_children_wait_for_the_mold() {
    check(&[
        (0.0, "-...", &[], "mold"),
        (0.1, "l...", &[], "@60000"),
        (1.0, "M...", &[], "+0 +1 +2 @61000"),
    ]);
}

#[test]
fn a_full_pool_is_left_alone() {
    check(&[(1.0, "MRRR", &[], ""), (100.0, "MRRR", &[], "")]);
}

#[test]
fn a_child_that_died_serving_is_replaced_at_once_however_often() {
    check(&[
        (1.0, "MR.R", &[], "+1 @61000"),
        (1.1, "MR.R", &[], "+1 @61100"),
        (1.2, "M.R.", &[], "+0 +2 @61200"),
    ]);
}

#[test]
fn no_child_is_started_in_a_slot_that_is_not_cleared() {
    check(&[
        (1.0, "MRgR", &[], ""),
        (1.1, "MRxR", &[], ""),
        (1.2, "MR.R", &[], "+1 @61200"),
    ]);
}

#[test]
fn an_ordered_or_starting_child_is_not_ordered_twice() {
    check(&[
        (1.0, "MoR.", &[], "+2 @60000"),
        (1.1, "MsRo", &[], "@60000"),
    ]);
}

#[test]
fn children_that_die_while_starting_are_ordered_again_more_and_more_slowly() {
    check(&[
        (1.0, "M.", &[DiedStarting], "+0 @61000"),
        (1.5, "M.", &[DiedStarting], "@1600"),
        (1.6, "M.", &[], "+0 @61600"),
        (2.0, "M.", &[DiedStarting], "@2200"),
        (2.2, "M.", &[], "+0 @62200"),
        (3.0, "M.", &[DiedStarting], "@3400"),
    ]);
}

#[test]
fn children_that_die_together_count_once() {
    check(&[
        (
            1.0,
            "M...",
            &[DiedStarting, DiedStarting, DiedStarting],
            "+0 +1 +2 @61000",
        ),
        (2.0, "M.s.", &[DiedStarting, DiedStarting], "@2100"),
        (2.05, "M...", &[DiedStarting], "@2100"),
        (2.1, "M...", &[], "+0 +1 +2 @62100"),
    ]);
}

#[test]
fn a_child_that_was_ready_before_the_trouble_does_not_end_the_back_off() {
    check(&[
        (10.0, "MR.", &[DiedStarting], "+1 @70000"),
        (10.1, "MR.", &[DiedStarting], "@10200"),
        (30.0, "MR.", &[DiedStarting], "@30200"),
    ]);
}

#[test]
fn a_child_that_stays_up_ends_the_back_off() {
    let mut memory = Memory::default();
    let limits = Limits {
        pool: Pool::Fixed { processes: 2 },
        startup_timeout: Duration::from_secs(60),
        shutdown_timeout: Duration::from_secs(30),
        recycling: Recycling::default(),
    };
    let mut look = |millis: u64, child: Child, events: &[Event]| {
        let (now, since) = (Duration::from_millis(millis), SINCE);
        let children = [child, Child::Vacant];
        let mold = Mold::Ready { since };
        text(&decide(
            &limits,
            &mut memory,
            &Observed {
                now,
                mold,
                children: &children,
                stats: &[],
                demand: Demand::default(),
                weight: None,
                computing: None,
                events,
            },
        ))
    };
    let ready = Child::Ready {
        since: Duration::from_millis(1500),
        busy: 0,
    };
    assert_eq!(look(1000, Child::Leaving, &[DiedStarting]), "+1 @61000");
    assert_eq!(look(1100, Child::Leaving, &[DiedStarting]), "@1200");
    assert_eq!(
        look(6400, ready, &[DiedStarting]),
        "@6600",
        "it has not been up for long enough"
    );
    let ready = Child::Ready {
        since: Duration::from_millis(7000),
        busy: 0,
    };
    assert_eq!(
        look(12_000, ready, &[DiedStarting]),
        "+1 @72000",
        "the count begins anew"
    );
}

#[test]
fn failed_forks_are_tried_again_one_at_a_time_with_back_off() {
    check(&[
        (1.0, "M...", &[], "+0 +1 +2 @61000"),
        (1.1, "M...", &[ForkFailed, ForkFailed, ForkFailed], "@2100"),
        (2.1, "M...", &[], "+0 @62100"),
        (2.2, "M.o.", &[], "@60000"),
        (2.3, "M...", &[ForkFailed], "@4300"),
        (4.3, "M...", &[], "+0 @64300"),
        (4.4, "Ms..", &[Born], "+1 +2 @60000"),
    ]);
}

#[test]
fn a_dead_mold_is_rebuilt_at_once_then_more_and_more_slowly() {
    check(&[
        (1.0, "-RR", &[MoldDied], "mold"),
        (1.5, "-RR", &[MoldDied], "@1600"),
        (1.6, "-RR", &[], "mold"),
        (1.7, "-RR", &[MoldDied], "@1900"),
    ]);
}

#[test]
fn a_mold_that_leaves_is_waited_for() {
    check(&[(1.0, "x..", &[], ""), (1.1, "-..", &[], "mold")]);
}

#[test]
fn molds_and_children_that_exceed_the_startup_timeout_are_killed() {
    check(&[
        (59.0, "l..", &[], "@60000"),
        (60.0, "l..", &[], "kill-mold"),
    ]);
    check(&[(59.0, "MsR", &[], "@60000"), (60.0, "MsR", &[], "-0")]);
}

#[test]
fn a_mold_that_carries_out_no_order_is_killed_and_gets_no_further_one() {
    check(&[(60.0, "Mo.", &[], "kill-mold")]);
}

#[test]
fn a_long_line_of_orders_is_handed_over_in_portions() {
    let vacant = ".".repeat(100);
    let first = (0..32)
        .map(|slot| format!("+{slot}"))
        .collect::<Vec<_>>()
        .join(" ");
    check(&[(1.0, &format!("M{vacant}"), &[], &format!("{first} @61000"))]);
    let rest = format!("M{}{}{}", "s".repeat(10), "o".repeat(22), ".".repeat(68));
    let next = (32..42)
        .map(|slot| format!("+{slot}"))
        .collect::<Vec<_>>()
        .join(" ");
    check(&[(1.0, &rest, &[], &format!("{next} @60000"))]);
}

/// A small generator of pseudorandom numbers, the same in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % bound
    }
}

#[test]
fn decisions_about_random_states_are_consistent() {
    let mut random = Random(7);
    for _ in 0..200 {
        let mut memory = Memory::default();
        let mut now = Duration::ZERO;
        for _ in 0..50 {
            now += Duration::from_millis(random.below(4000) as u64);
            let letters: String = (0..6)
                .map(|_| ['.', 'o', 's', 'R', 'x', 'g'][random.below(6)])
                .collect();
            let mold = ['-', 'l', 'M', 'x'][random.below(4)];
            let all = [Born, DiedStarting, ForkFailed, MoldDied];
            let events: Vec<_> = (0..random.below(3)).map(|_| all[random.below(4)]).collect();
            let Scene { mold, children } = scene(&format!("{mold}{letters}"));
            let seen = Observed {
                now,
                mold,
                children: &children,
                stats: &[],
                demand: Demand::default(),
                weight: None,
                computing: None,
                events: &events,
            };
            let limits = Limits {
                pool: Pool::Fixed { processes: 6 },
                startup_timeout: Duration::from_secs(60),
                shutdown_timeout: Duration::from_secs(30),
                recycling: Recycling::default(),
            };
            check_decision(&seen, &decide(&limits, &mut memory, &seen));
        }
    }
}

fn check_decision(seen: &Observed<'_>, actions: &[Action]) {
    let spawned: Vec<u16> = actions
        .iter()
        .filter_map(|action| {
            if let Action::Spawn { slot } = action {
                Some(*slot)
            } else {
                None
            }
        })
        .collect();
    for slot in &spawned {
        assert_eq!(
            seen.children[usize::from(*slot)],
            Child::Vacant,
            "a child is ordered only in a vacant slot"
        );
        assert_eq!(
            spawned.iter().filter(|other| *other == slot).count(),
            1,
            "no slot is ordered twice"
        );
    }
    assert!(
        spawned.is_empty() || matches!(seen.mold, Mold::Ready { .. }),
        "only a ready mold is ordered to fork"
    );
    let again = actions.iter().find_map(|action| {
        if let Action::LookAgain { at } = action {
            Some(*at)
        } else {
            None
        }
    });
    assert!(
        again.is_none_or(|at| at > seen.now),
        "the next look is in the future"
    );
    let idle =
        |missing: bool, action: Action| missing && !actions.contains(&action) && again.is_none();
    assert!(
        !idle(seen.mold == Mold::Absent, Action::BuildMold),
        "a missing mold is built now or later"
    );
    let ordered = seen
        .children
        .iter()
        .any(|child| matches!(child, Child::Ordered { .. }));
    let vacant = seen.children.contains(&Child::Vacant);
    if vacant && !ordered && matches!(seen.mold, Mold::Ready { .. }) {
        assert!(
            !spawned.is_empty() || again.is_some(),
            "a vacant slot is filled now or later"
        );
    }
}
