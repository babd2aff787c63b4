//! What Apache corrects at the start, one test for each rule.

use crate::Directive::{
    MaxRequestWorkers, MaxSpareServers, MaxSpareThreads, MinSpareServers, MinSpareThreads,
    ServerLimit, StartServers, ThreadLimit, ThreadsPerChild,
};
use crate::{Correction, Directive, Directives, Elastic, Mpm};

fn prefork() -> Directives {
    Directives::shipped(Mpm::Prefork)
}

fn worker() -> Directives {
    Directives::shipped(Mpm::Worker)
}

/// Corrects, and expects these corrections: (directive, given, used).
fn check(directives: Directives, expected: &[(Directive, u32, u32)]) -> Elastic {
    let (elastic, corrections) = directives.correct(None);
    assert_eq!(listed(&corrections), expected);
    elastic
}

fn listed(corrections: &[Correction]) -> Vec<(Directive, u32, u32)> {
    corrections
        .iter()
        .map(|correction| (correction.directive, correction.given, correction.used))
        .collect()
}

#[test]
fn what_is_shipped_needs_no_correction() {
    for (directives, expected) in [
        (prefork(), (5, 5, 10, 250, 1)),
        (worker(), (3, 75, 250, 16, 25)),
        (Directives::apache_2009(Mpm::Prefork), (5, 5, 10, 150, 1)),
        (Directives::apache_2009(Mpm::Worker), (2, 25, 75, 6, 25)),
    ] {
        let elastic = check(directives, &[]);
        let numbers = (
            elastic.start_servers(),
            elastic.min_spare(),
            elastic.max_spare(),
            elastic.max_children(),
            elastic.threads_per_child(),
        );
        assert_eq!(numbers, expected);
        assert_eq!(elastic.mpm(), directives.mpm);
    }
}

#[test]
fn at_least_one_child_is_started() {
    for directives in [prefork(), worker()] {
        let none = Directives {
            start_servers: 0,
            ..directives
        };
        assert_eq!(check(none, &[(StartServers, 0, 1)]).start_servers(), 1);
    }
}

#[test]
fn no_more_children_are_started_than_there_may_be() {
    let many = Directives {
        start_servers: 300,
        ..prefork()
    };
    assert_eq!(
        check(many, &[(StartServers, 300, 250)]).start_servers(),
        250
    );
    let many = Directives {
        start_servers: 17,
        ..worker()
    };
    assert_eq!(check(many, &[(StartServers, 17, 16)]).start_servers(), 16);
}

#[test]
fn at_least_one_is_spare() {
    let none = Directives {
        min_spare: 0,
        ..prefork()
    };
    assert_eq!(check(none, &[(MinSpareServers, 0, 1)]).min_spare(), 1);
    let none = Directives {
        min_spare: 0,
        ..worker()
    };
    assert_eq!(check(none, &[(MinSpareThreads, 0, 1)]).min_spare(), 1);
}

#[test]
fn one_spare_child_lies_between_the_fewest_and_the_most() {
    for max_spare in [0, 4, 5] {
        let close = Directives {
            max_spare,
            ..prefork()
        };
        assert_eq!(
            check(close, &[(MaxSpareServers, max_spare, 6)]).max_spare(),
            6
        );
    }
    let apart = Directives {
        max_spare: 6,
        ..prefork()
    };
    check(apart, &[]);
}

#[test]
fn the_threads_of_a_child_and_one_lie_between_the_fewest_and_the_most_spare() {
    let close = Directives {
        max_spare: 100,
        ..worker()
    };
    assert_eq!(
        check(close, &[(MaxSpareThreads, 100, 101)]).max_spare(),
        101
    );
    let apart = Directives {
        max_spare: 101,
        ..worker()
    };
    check(apart, &[]);
}

#[test]
fn corrections_are_based_on_corrected_values() {
    let odd = Directives {
        min_spare: 0,
        max_spare: 0,
        ..prefork()
    };
    check(odd, &[(MinSpareServers, 0, 1), (MaxSpareServers, 0, 2)]);
}

#[test]
fn there_are_threads_for_one_child_at_least() {
    let few = Directives {
        max_request_workers: 24,
        start_servers: 1,
        ..worker()
    };
    assert_eq!(check(few, &[(MaxRequestWorkers, 24, 25)]).max_children(), 1);
    let none = Directives {
        max_request_workers: 0,
        start_servers: 1,
        ..prefork()
    };
    assert_eq!(check(none, &[(MaxRequestWorkers, 0, 1)]).max_children(), 1);
}

#[test]
fn threads_are_rounded_down_to_whole_children() {
    let odd = Directives {
        max_request_workers: 399,
        ..worker()
    };
    assert_eq!(
        check(odd, &[(MaxRequestWorkers, 399, 375)]).max_children(),
        15
    );
}

#[test]
fn there_are_no_more_children_than_the_server_limit() {
    let many = Directives {
        max_request_workers: 257,
        ..prefork()
    };
    assert_eq!(
        check(many, &[(MaxRequestWorkers, 257, 256)]).max_children(),
        256
    );
    // Rounded first, as Apache does.
    let many = Directives {
        max_request_workers: 1010,
        ..worker()
    };
    let both = [
        (MaxRequestWorkers, 1010, 1000),
        (MaxRequestWorkers, 1000, 400),
    ];
    assert_eq!(check(many, &both).max_children(), 16);
}

#[test]
fn the_server_limit_has_limits() {
    for directives in [prefork(), worker()] {
        let high = Directives {
            server_limit: 300_000,
            ..directives
        };
        assert_eq!(
            check(high, &[(ServerLimit, 300_000, 4096)]).server_limit(),
            4096
        );
    }
    let low = Directives {
        server_limit: 0,
        max_request_workers: 1,
        start_servers: 1,
        ..prefork()
    };
    assert_eq!(check(low, &[(ServerLimit, 0, 1)]).server_limit(), 1);
}

#[test]
fn the_thread_limit_has_limits() {
    let high = Directives {
        thread_limit: 20_000,
        ..worker()
    };
    assert_eq!(
        check(high, &[(ThreadLimit, 20_000, 255)]).thread_limit(),
        255
    );
    let low = Directives {
        thread_limit: 0,
        threads_per_child: 1,
        max_request_workers: 16,
        ..worker()
    };
    assert_eq!(check(low, &[(ThreadLimit, 0, 1)]).thread_limit(), 1);
}

#[test]
fn a_child_has_no_more_threads_than_the_thread_limit_and_at_least_one() {
    let many = Directives {
        threads_per_child: 100,
        max_request_workers: 640,
        ..worker()
    };
    assert_eq!(
        check(many, &[(ThreadsPerChild, 100, 64)]).threads_per_child(),
        64
    );
    let none = Directives {
        threads_per_child: 0,
        max_request_workers: 16,
        ..worker()
    };
    assert_eq!(
        check(none, &[(ThreadsPerChild, 0, 1)]).threads_per_child(),
        1
    );
}

#[test]
fn a_child_of_prefork_has_one_thread() {
    let threads = Directives {
        threads_per_child: 5,
        ..prefork()
    };
    assert_eq!(
        check(threads, &[(ThreadsPerChild, 5, 1)]).threads_per_child(),
        1
    );
}

#[test]
fn a_reload_changes_neither_server_limit_nor_thread_limit() {
    let (running, _) = worker().correct(None);
    let (elastic, corrections) = Directives {
        server_limit: 32,
        thread_limit: 128,
        threads_per_child: 100,
        max_request_workers: 640,
        ..worker()
    }
    .correct(Some(&running));
    let expected = [
        (ServerLimit, 32, 16),
        (ThreadLimit, 128, 64),
        (ThreadsPerChild, 100, 64),
    ];
    assert_eq!(listed(&corrections), expected);
    assert_eq!((elastic.server_limit(), elastic.thread_limit()), (16, 64));
    let (unchanged, corrections) = worker().correct(Some(&running));
    assert_eq!((unchanged, corrections), (running, Vec::new()));
}

#[test]
fn a_reload_from_prefork_to_worker_keeps_the_one_thread_that_there_is_room_for() {
    let (running, _) = prefork().correct(None);
    let (elastic, corrections) = Directives {
        server_limit: 256,
        ..worker()
    }
    .correct(Some(&running));
    let expected = [
        (ThreadLimit, 64, 1),
        (ThreadsPerChild, 25, 1),
        (MaxRequestWorkers, 400, 256),
    ];
    assert_eq!(listed(&corrections), expected);
    assert_eq!(elastic.threads_per_child(), 1);
    let (back, corrections) = prefork().correct(Some(&running));
    assert_eq!((back, corrections), (running, Vec::new()));
}

#[test]
fn a_correction_names_the_directive_and_both_numbers() {
    let correction = Correction {
        directive: MaxRequestWorkers,
        given: 399,
        used: 375,
    };
    assert_eq!(
        correction.to_string(),
        "MaxRequestWorkers of 399 not allowed, using 375"
    );
}
