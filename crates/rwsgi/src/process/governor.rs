//! Decides how many of a child's threads may run at the same time, by [`pool::ThreadLimitRule`], on a separate
//! thread that never uses Python.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use exchange::Governor;
use pool::{ThreadLimitRule, ThreadSample};
use supervisor::processor_time;

use super::stop::Stop;

/// The interval of measurements: while the limit changes, and the maximum.
const PACES: (Duration, Duration) = (Duration::from_micros(500), Duration::from_millis(8));
/// The maximum while all threads may run and the child idles for half of the time: no thread is held back then.
const SLOWEST: Duration = Duration::from_millis(24);
/// Measurements without activity after which the governor sleeps.
const QUIET: u32 = 4;
const STACK: usize = 128 * 1024;

/// The files in which the kernel reports the state of each application thread.
#[derive(Clone, Debug, Default)]
pub(crate) struct States(Arc<Mutex<Vec<PathBuf>>>);

impl States {
    /// Adds the calling thread.
    pub(crate) fn add_this_thread(&self) -> io::Result<()> {
        let thread = fs::read_link("/proc/thread-self")?;
        let mut states = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        states.push(PathBuf::from("/proc").join(thread).join("stat"));
        Ok(())
    }

    /// Whether one of the threads is running or runnable.
    fn any_computes(&self) -> bool {
        let states = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // The name before the state may contain anything.
        let state = |text: &str| {
            text.rsplit_once(") ")
                .map(|(_, behind)| behind.starts_with('R'))
        };
        states
            .iter()
            .any(|path| fs::read_to_string(path).is_ok_and(|text| state(&text) == Some(true)))
    }
}

/// Starts the governor.
pub(crate) fn start(stop: &Arc<Stop>, states: States) -> io::Result<()> {
    let threads = u32::from(stop.exchange.geometry().threads);
    let governor = Governor::new(Arc::clone(&stop.exchange), stop.child);
    let stop = Arc::clone(stop);
    let watch = move || {
        let mut rule = ThreadLimitRule::new(threads);
        governor.set_limit(1);
        while !stop.flag.load(Ordering::Acquire) {
            governor.sleep(&stop.flag);
            watch(&governor, &mut rule, threads, &states, &stop);
        }
    };
    std::thread::Builder::new()
        .name("rwsgi-governor".to_owned())
        .stack_size(STACK)
        .spawn(watch)
        .map(drop)
}

/// Measures repeatedly until there is no activity.
fn watch(
    governor: &Governor,
    rule: &mut ThreadLimitRule,
    threads: u32,
    states: &States,
    stop: &Stop,
) {
    let (mut pace, mut quiet, mut limit) = (PACES.0, 0, 0);
    let (mut last, mut computed) = (Instant::now(), processor_time());
    // The running requests, and the share of CPU time of each since it was first seen.
    let mut shares = Vec::<((usize, u64), Duration)>::new();
    while quiet < QUIET && !stop.flag.load(Ordering::Acquire) {
        // Not waiting for an event: this is the duration of the measurement.
        std::thread::sleep(pace);
        let activity = governor.activity();
        let (now, total) = (Instant::now(), processor_time());
        let (passed, spent) = (now - last, total.saturating_sub(computed));
        (last, computed) = (now, total);
        note_shares(&mut shares, &activity.running, spent);
        let running: Vec<Duration> = shares.iter().map(|(_, share)| *share).collect();
        let may_be_busy = activity.held_back || 2 * spent >= passed;
        let new = rule.decide(&ThreadSample {
            passed,
            computed: spent,
            computing: may_be_busy && spent < passed && states.any_computes(),
            unparked: activity.unparked,
            held_back: activity.held_back,
            running: &running,
            lasted: &activity.lasted,
        });
        if new != limit || activity.held_back {
            governor.set_limit(new);
        }
        let slowest = if new == threads && 2 * spent < passed {
            SLOWEST
        } else {
            PACES.1
        };
        pace = if new == limit {
            (2 * pace).min(slowest)
        } else {
            PACES.0
        };
        quiet = if activity.held_back || activity.unparked > 1 {
            0
        } else {
            quiet + 1
        };
        limit = new;
    }
}

/// Divides the CPU time equally among the running requests.
fn note_shares(
    shares: &mut Vec<((usize, u64), Duration)>,
    running: &[(usize, u64)],
    spent: Duration,
) {
    shares.retain(|(request, _)| running.contains(request));
    let each = spent / u32::try_from(shares.len()).unwrap_or(u32::MAX).max(1);
    for (_, share) in &mut *shares {
        *share += each;
    }
    for request in running {
        if !shares.iter().any(|(known, _)| known == request) {
            shares.push((*request, Duration::ZERO));
        }
    }
}
