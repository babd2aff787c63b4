//! Children that are old enough, or belong to an earlier generation, are replaced one after the other.

use std::time::Duration;

use super::scoreboard::uncorrected;
use crate::{
    Action, Child, ChildStats, Demand, Directives, Event, Limits, Memory, Mold, Mpm, Observed,
    Pool, Recycling, Safe, decide,
};

/// A pool with its slots, in which decisions take effect at once.
struct Site {
    limits: Limits,
    memory: Memory,
    now: Duration,
    children: Vec<Child>,
    stats: Vec<ChildStats>,
    mold: Mold,
    events: Vec<Event>,
}

const NEW: ChildStats = ChildStats {
    is_current: true,
    requests: 0,
    idle_since: None,
    private: None,
    terminated: false,
};

impl Site {
    fn new(pool: Pool, recycling: Recycling, slots: usize) -> Self {
        Self {
            limits: Limits {
                pool,
                recycling,
                startup_timeout: Duration::from_secs(60),
                shutdown_timeout: Duration::from_secs(30),
            },
            memory: Memory::default(),
            now: Duration::from_secs(100),
            children: vec![Child::Vacant; slots],
            stats: vec![NEW; slots],
            mold: Mold::Ready {
                since: Duration::ZERO,
            },
            events: Vec::new(),
        }
    }

    /// Two children in three slots.
    fn fixed(recycling: Recycling) -> Self {
        let mut site = Self::new(Pool::Fixed { processes: 2 }, recycling, 3);
        site.ready(0);
        site.ready(1);
        site
    }

    fn ready(&mut self, slot: usize) {
        let (since, busy) = (self.now, 0);
        self.children[slot] = Child::Ready { since, busy };
        self.stats[slot] = NEW;
    }

    fn look(&mut self) -> String {
        let events = std::mem::take(&mut self.events);
        let seen = Observed {
            now: self.now,
            mold: self.mold,
            children: &self.children,
            stats: &self.stats,
            demand: Demand::default(),
            weight: None,
            computing: None,
            events: &events,
        };
        let mut words = Vec::new();
        for action in decide(&self.limits, &mut self.memory, &seen) {
            match action {
                Action::Spawn { slot } => {
                    self.children[usize::from(slot)] = Child::Starting { since: self.now };
                    words.push(format!("+{slot}"));
                }
                Action::Replace { slot, reason } => {
                    self.children[usize::from(slot)] = Child::Outgoing;
                    words.push(format!("{reason} {slot}"));
                }
                Action::Retire { slot } => {
                    self.children[usize::from(slot)] = Child::Draining { since: self.now };
                    words.push(format!("-{slot}"));
                }
                Action::Kill { slot } => {
                    self.children[usize::from(slot)] = Child::Leaving;
                    words.push(format!("x{slot}"));
                }
                Action::LookAgain { at } => words.push(format!("@{}", at.as_secs())),
                // A pool at its limit logs it.
                Action::Log(_) => {}
                other => panic!("{other:?}"),
            }
        }
        words.join(" ")
    }

    /// As `look`, without the times at which to look again.
    fn does(&mut self) -> String {
        let words = self.look();
        let words: Vec<_> = words
            .split(' ')
            .filter(|word| !word.starts_with('@'))
            .collect();
        words.join(" ")
    }

    /// The first child of a new generation has become ready in this slot, and the others are of the former one.
    fn take_over(&mut self, slot: usize) {
        self.stats.iter_mut().for_each(|stats| {
            *stats = ChildStats {
                is_current: false,
                ..NEW
            }
        });
        self.ready(slot);
        self.events.push(Event::GracefulRestart);
    }

    /// Looks until nothing more is done; starting children are ready at once, and leaving ones gone.
    fn settle(&mut self) -> Vec<String> {
        let mut done = Vec::new();
        loop {
            let words = self.does();
            if words.is_empty() {
                return done;
            }
            done.push(words);
            for slot in 0..self.children.len() {
                match self.children[slot] {
                    Child::Starting { .. } => self.ready(slot),
                    Child::Draining { .. } => self.children[slot] = Child::Vacant,
                    _ => {}
                }
            }
        }
    }

    fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }
}

fn after_requests(max_requests: u64) -> Recycling {
    Recycling {
        max_requests,
        ..Recycling::default()
    }
}

#[test]
fn the_replacement_is_ready_before_a_child_is_told_to_go() {
    let mut site = Site::fixed(after_requests(50));
    site.stats[0].requests = 49;
    assert_eq!(site.look(), "");
    site.stats[0].requests = 50;
    assert_eq!(site.look(), "max-requests 0");
    assert_eq!(site.look(), "+2 @160");
    assert_eq!(site.does(), "", "it starts, and the old child serves");
    site.ready(2);
    assert_eq!(site.look(), "-0 @130");
    assert_eq!(site.look(), "@130");
}

#[test]
fn one_is_recycled_after_the_other() {
    let mut site = Site::fixed(after_requests(50));
    site.stats[0].requests = 60;
    site.stats[1].requests = 70;
    assert_eq!(site.look(), "max-requests 0");
    assert_eq!(site.look(), "+2 @160");
    site.ready(2);
    assert_eq!(site.look(), "-0 @130");
    assert_eq!(site.look(), "@130", "the first has not left yet");
    site.children[0] = Child::Gone;
    assert_eq!(site.look(), "");
    site.children[0] = Child::Vacant;
    assert_eq!(site.look(), "max-requests 1");
    assert_eq!(site.look(), "+0 @160");
}

#[test]
fn no_child_is_recycled_while_one_is_lacking_or_none_can_be_forked() {
    let mut site = Site::fixed(after_requests(50));
    site.stats[0].requests = 60;
    site.children[1] = Child::Starting { since: site.now };
    assert_eq!(site.does(), "");
    site.ready(1);
    site.mold = Mold::Loading { since: site.now };
    assert_eq!(site.does(), "");
    site.mold = Mold::Ready { since: site.now };
    assert_eq!(site.does(), "max-requests 0");
}

#[test]
fn a_replacement_that_dies_is_started_again_and_the_old_child_stays_meanwhile() {
    let mut site = Site::fixed(after_requests(50));
    site.stats[0].requests = 60;
    assert_eq!(site.look(), "max-requests 0");
    assert_eq!(site.look(), "+2 @160");
    site.children[2] = Child::Vacant;
    assert_eq!(site.look(), "+2 @160");
    site.ready(2);
    assert_eq!(site.look(), "-0 @130");
}

#[test]
fn children_are_recycled_by_age_idleness_and_size() {
    let check = |recycling: Recycling, stats: ChildStats, seconds: u64, expected: &str| {
        let mut site = Site::fixed(recycling);
        site.children[1] = Child::Vacant;
        site.limits.pool = Pool::Fixed { processes: 1 };
        site.stats[0] = stats;
        site.pass(seconds);
        assert_eq!(site.look(), expected, "{recycling:?} {stats:?} {seconds}");
    };
    let idle = ChildStats {
        idle_since: Some(Duration::from_secs(103)),
        requests: 1,
        ..NEW
    };
    let large = ChildStats {
        private: Some(1001),
        ..NEW
    };
    let age = Recycling {
        restart_interval: Duration::from_secs(10),
        ..Recycling::default()
    };
    check(age, NEW, 9, "@110");
    check(age, NEW, 10, "restart-interval 0");
    let idleness = Recycling {
        inactivity_timeout: Duration::from_secs(10),
        ..Recycling::default()
    };
    check(idleness, idle, 12, "@113");
    check(idleness, idle, 13, "inactivity-timeout 0");
    check(idleness, NEW, 1000, "");
    let size = Recycling {
        max_memory: 1000,
        ..Recycling::default()
    };
    check(size, NEW, 1, "");
    check(size, large, 1, "max-child-memory 0");
    check(Recycling::default(), ChildStats { ..large }, 1000, "");
}

#[test]
fn an_earlier_generation_is_replaced_although_requests_of_it_still_run() {
    let mut site = Site::new(Pool::Fixed { processes: 3 }, Recycling::default(), 5);
    for slot in 0..3 {
        site.ready(slot);
        site.stats[slot].is_current = false;
    }
    // The first child of the new generation, which the reload has started.
    site.ready(3);
    assert_eq!(site.look(), "reload 0");
    assert_eq!(site.look(), "-0 @130", "the new one is there already");
    assert_eq!(site.look(), "reload 1 @130");
    assert_eq!(site.look(), "+4 @130");
    site.ready(4);
    assert_eq!(site.look(), "-1 @130");
    assert_eq!(site.look(), "reload 2 @130");
    assert_eq!(site.look(), "@130", "it serves on: no slot is left");
    site.children[0] = Child::Vacant;
    assert_eq!(site.look(), "+0 @130");
    site.ready(0);
    assert_eq!(site.look(), "-2 @130");
    site.children[1] = Child::Vacant;
    assert_eq!(site.look(), "@130");
}

#[test]
fn one_spare_slot_is_enough_for_a_new_generation() {
    let mut site = Site::fixed(Recycling::default());
    site.stats[0].is_current = false;
    site.stats[1].is_current = false;
    site.ready(2);
    assert_eq!(site.look(), "reload 0");
    assert_eq!(site.look(), "-0 @130");
    assert_eq!(site.look(), "reload 1 @130");
    assert_eq!(site.look(), "@130");
    site.children[0] = Child::Vacant;
    assert_eq!(site.look(), "+0 @160");
    site.ready(0);
    assert_eq!(site.look(), "-1 @130");
}

#[test]
fn a_pool_that_is_made_smaller_retires_idle_children() {
    let mut site = Site::new(Pool::Fixed { processes: 4 }, Recycling::default(), 5);
    (0..4).for_each(|slot| site.ready(slot));
    let since = site.now;
    site.children[3] = Child::Ready { since, busy: 1 };
    site.limits.pool = Pool::Fixed { processes: 2 };
    assert_eq!(site.look(), "-2 -1 @130");
    site.limits.pool = Pool::Fixed { processes: 0 };
    assert_eq!(site.look(), "-0 -3 @130");
    site.limits.pool = Pool::Fixed { processes: 1 };
    assert_eq!(site.look(), "+4 @130");
}

/// A pool by Apache's rules with so many children, none of which has a request.
fn apaches(directives: Directives, children: usize) -> Site {
    let pool = Pool::Apache(uncorrected(directives));
    let mut site = Site::new(pool, Recycling::default(), 20);
    site.does();
    (0..children).for_each(|slot| site.ready(slot));
    site.pass(1);
    assert_eq!(site.settle(), [""; 0]);
    site
}

#[test]
fn a_new_generation_of_apaches_pool_starts_its_children_and_then_replaces_the_others() {
    let mut site = apaches(
        Directives {
            start_servers: 3,
            min_spare: 1,
            ..Directives::shipped(Mpm::Prefork)
        },
        3,
    );
    site.take_over(3);
    assert_eq!(site.settle(), [""; 0], "nobody goes before they are there");
    site.pass(1);
    // One of StartServers is there already.
    assert_eq!(site.does(), "+4 +5");
    assert_eq!(site.does(), "", "they start, and the former children serve");
    site.ready(4);
    site.ready(5);
    let replaced = ["reload 0", "-0", "reload 1", "-1", "reload 2", "-2"];
    assert_eq!(site.settle(), replaced);
    site.pass(1);
    assert_eq!(site.settle(), [""; 0]);
}

#[test]
fn a_new_generation_of_apaches_pool_does_not_grow_faster_and_faster() {
    let mut site = apaches(
        Directives {
            start_servers: 1,
            min_spare: 6,
            ..Directives::shipped(Mpm::Prefork)
        },
        6,
    );
    site.take_over(6);
    let replaced = ["reload 0", "-0", "reload 1"];
    assert_eq!(site.settle(), replaced);
    for (outgoing, next) in [
        (1, "reload 2"),
        (2, "reload 3"),
        (3, "reload 4"),
        (4, "reload 5"),
    ] {
        site.pass(1);
        let done = site.settle();
        assert_eq!(done.len(), 3, "{done:?}");
        assert!(
            done[0].starts_with('+') && !done[0].contains(' '),
            "one: {done:?}"
        );
        assert_eq!(done[1..], [format!("-{outgoing}"), next.to_owned()]);
    }
}

#[test]
fn an_elastic_pool_at_its_limit_has_a_spare_slot_for_the_replacement() {
    let elastic = uncorrected(Directives {
        start_servers: 2,
        min_spare: 1,
        max_spare: 2,
        max_request_workers: 2,
        ..Directives::shipped(Mpm::Prefork)
    });
    let safe = Pool::Safe(Safe {
        elastic,
        cores: 2,
        memory_budget: None,
    });
    for pool in [safe, Pool::Apache(elastic)] {
        let mut site = Site::new(pool, after_requests(50), 3);
        assert_eq!(site.does(), "+0 +1");
        site.ready(0);
        site.ready(1);
        let since = site.now;
        let busy = [0, 1].map(|_| Child::Ready { since, busy: 1 });
        site.children[..2].copy_from_slice(&busy);
        site.stats[1].requests = 60;
        let mut done = Vec::new();
        for _ in 0..6 {
            site.pass(1);
            done.push(step(&mut site));
        }
        let done: Vec<_> = done.into_iter().filter(|words| !words.is_empty()).collect();
        assert_eq!(done, ["max-requests 1", "+2", "-1"], "{pool:?}");
    }
}

/// One look, after which what starts is ready and has a request.
fn step(site: &mut Site) -> String {
    let words = site.does();
    let since = site.now;
    for child in &mut site.children {
        if let Child::Starting { .. } = child {
            *child = Child::Ready { since, busy: 1 };
        }
    }
    words
}

#[test]
fn a_child_that_does_not_leave_is_killed_after_the_shutdown_timeout() {
    let mut site = Site::fixed(after_requests(50));
    site.stats[0].requests = 50;
    assert_eq!(site.look(), "max-requests 0");
    assert_eq!(site.look(), "+2 @160");
    site.ready(2);
    // A child that hangs causes no event: the time at which to look again comes with the order.
    assert_eq!(site.look(), "-0 @130");
    site.pass(29);
    assert_eq!(site.look(), "@130");
    site.pass(1);
    assert_eq!(site.look(), "x0");
    assert_eq!(site.look(), "", "it is not reaped yet");
}

#[test]
fn hanging_children_delay_a_new_generation_by_the_shutdown_timeout_at_most() {
    let mut site = Site::fixed(Recycling::default());
    site.take_over(2);
    assert_eq!(site.does(), "reload 0");
    assert_eq!(site.does(), "-0");
    assert_eq!(site.does(), "reload 1");
    assert_eq!(site.look(), "@130", "no slot is free");
    site.pass(30);
    assert_eq!(site.does(), "x0");
    site.children[0] = Child::Vacant;
    assert_eq!(site.does(), "+0");
    site.ready(0);
    assert_eq!(site.does(), "-1");
}
