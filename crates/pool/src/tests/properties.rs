//! What holds under any load and any directives.

use std::time::Duration;

use proptest::prelude::*;

use super::safe::MIB;
use super::world::World;
use crate::{Action, Directives, Elastic, Mpm, Pool, Safe, Weight};

/// A load of so many requests at once, for so many tenths of a second, after a child has been killed.
type Phase = (u32, u16, Option<u16>);

/// Any directives, as Apache corrects them.
fn elastic() -> impl Strategy<Value = Elastic> {
    let numbers = (0..12u32, 0..40u32, 0..60u32, 0..60u32, 0..40u32, 0..6u32);
    (any::<bool>(), numbers).prop_map(|(prefork, numbers)| {
        let mpm = if prefork { Mpm::Prefork } else { Mpm::Worker };
        let (start_servers, min_spare, max_spare, max_request_workers, server_limit, threads) =
            numbers;
        let given = Directives {
            mpm,
            start_servers,
            min_spare,
            max_spare,
            max_request_workers,
            server_limit,
            threads_per_child: threads,
            thread_limit: 4,
        };
        given.correct(None).0
    })
}

fn apache() -> impl Strategy<Value = Pool> {
    elastic().prop_map(Pool::Apache)
}

fn safe_pool() -> impl Strategy<Value = Pool> {
    let budget = prop::option::of((0..2000u64).prop_map(|mib| mib * MIB));
    (elastic(), 0..5u16, budget).prop_map(|(elastic, cores, memory_budget)| {
        Pool::Safe(Safe {
            elastic,
            cores,
            memory_budget,
        })
    })
}

fn phases() -> impl Strategy<Value = Vec<Phase>> {
    prop::collection::vec((0..80u32, 1..80u16, prop::option::of(0..40u16)), 1..12)
}

fn import() -> impl Strategy<Value = Duration> {
    prop_oneof![Just(10), Just(500), Just(3000)].prop_map(Duration::from_millis)
}

/// Simulates the phases; `World` checks the limits at every look.
fn simulate(pool: Pool, import: Duration, phases: &[Phase]) -> World {
    let mut world = World::new(pool, import);
    simulate_in(&mut world, phases);
    world
}

fn simulate_in(world: &mut World, phases: &[Phase]) {
    for (index, (load, tenths, killed)) in phases.iter().enumerate() {
        // The measured memory changes, as children grow.
        if index > 0 {
            world.weight = Some(Weight {
                shared: 100 * MIB,
                private: (20 + 5 * index as u64) * MIB,
            });
        }
        if let Some(slot) = killed {
            world.kill(*slot);
        }
        world.run(Duration::from_millis(u64::from(*tenths) * 100), *load);
    }
}

fn changes(world: &World) -> Vec<Action> {
    let changes = world.history.iter().map(|(_, action)| *action);
    changes
        .filter(|action| !matches!(action, Action::Log(_)))
        .collect()
}

/// Under a load that does not change, the pool changes for a while and then no more.
fn settles(mut world: World, load: u32) {
    world.run(Duration::from_secs(200), load);
    world.history.clear();
    world.run(Duration::from_secs(100), load);
    assert_eq!(changes(&world), []);
    assert!(world.alive() > 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_safe_pool_stays_within_its_limits_and_settles(
        pool in safe_pool(), import in import(), phases in phases(), load in 0..80u32,
    ) {
        settles(simulate(pool, import, &phases), load);
    }

    #[test]
    fn apaches_pool_stays_within_its_limits_and_settles(
        pool in apache(), import in import(), phases in phases(), load in 0..80u32,
    ) {
        settles(simulate(pool, import, &phases), load);
    }

    #[test]
    fn a_child_that_does_not_leave_is_killed_in_time(
        pool in prop_oneof![safe_pool(), apache()], import in import(), phases in phases(),
    ) {
        let mut world = World::new(pool, import);
        world.never_leave = true;
        // `World` checks at every look which children are killed, and when.
        simulate_in(&mut world, &phases);
    }

    #[test]
    fn the_same_arguments_give_the_same_decision(
        pool in prop_oneof![safe_pool(), apache()], import in import(), phases in phases(),
    ) {
        let (once, again) = (simulate(pool, import, &phases), simulate(pool, import, &phases));
        prop_assert_eq!(once.history, again.history);
    }

    #[test]
    fn the_safe_pool_keeps_its_children_under_a_load_that_comes_and_goes(
        elastic in elastic(), busy in 0..80u32, tenths in 1..200u16,
    ) {
        let pool = Pool::Safe(Safe { elastic, cores: 2, memory_budget: None });
        let mut world = World::new(pool, Duration::from_millis(500));
        for _ in 0..4 {
            world.run(Duration::from_secs(60), busy);
        }
        world.history.clear();
        for _ in 0..6 {
            world.run(Duration::from_millis(u64::from(tenths) * 100), 0);
            world.run(Duration::from_secs(20), busy);
        }
        prop_assert_eq!(changes(&world), []);
    }
}
