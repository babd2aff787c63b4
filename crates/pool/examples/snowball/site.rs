//! The site: its clients, its queue, its children, and the supervisor that asks the rules.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use rwsgi_pool::{
    Action, Child, Demand, Event, Exit, Limits, Memory, Mold, Observed, Pool, Recycling, Safe,
    Weight, decide,
};

use crate::machine::{MIB, Machine, SYSTEM};
use crate::traffic::Traffic;

/// The model's step, in microseconds like all times here.
const STEP: u64 = 1_000;
pub(crate) const SECOND: u64 = 1_000_000;

/// When the spike begins, and when the run ends.
pub(crate) const SPIKE: u64 = 180 * SECOND;
pub(crate) const END: u64 = 360 * SECOND;

/// Over how long the processor time of serving children is averaged.
const WINDOW: u64 = SECOND / 4;

/// A request that takes longer is late.
const LATE: u64 = SECOND;
/// After so long a client gives up.
const PATIENCE: u64 = 10 * SECOND;
/// Requests that may wait; more are refused.
const BACKLOG: usize = 511;

/// CPU time of a fork, and of the import.
const FORK: u64 = 10_000;
const IMPORT: u64 = 2 * SECOND;

/// KiB of a child without the application, and with it.
const BARE: u64 = 2 * MIB;
const LOADED: u64 = 30 * MIB;
/// KiB that a child of a mold has of its own, once it has served: 57 %, as measured for the demo site.
const FORKED: u64 = LOADED * 57 / 100;

/// Where the application is imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Import {
    /// In a child that is already ready, by its first request.
    FirstRequest,
    /// In each child, before it is ready.
    Child,
    /// Before children are forked.
    Mold,
}

/// The result of a run, from the spike on.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Report {
    pub(crate) forks: u32,
    /// Microseconds of CPU time.
    pub(crate) importing: u64,
    pub(crate) children: usize,
    /// KiB.
    pub(crate) memory: u64,
    pub(crate) killed: u32,
    pub(crate) answered: u32,
    pub(crate) lost: u32,
    pub(crate) late: u32,
    /// Seconds from the beginning of the spike to the last request that was lost or late; `None` if there were such
    /// requests until the end.
    pub(crate) well_after: Option<u64>,
}

/// A moment of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) second: u64,
    pub(crate) children: usize,
    pub(crate) busy: usize,
    pub(crate) importing: usize,
    pub(crate) waiting: usize,
    pub(crate) memory: u64,
    pub(crate) answered: u32,
    pub(crate) late: u32,
    pub(crate) lost: u32,
}

/// A child.
#[derive(Clone, Debug)]
struct SimulatedChild {
    seen: Child,
    fork: u64,
    import: u64,
    job: Option<Job>,
    served: bool,
    idle_since: u64,
}

/// A request that a child has.
#[derive(Clone, Copy, Debug)]
struct Job {
    arrived: u64,
    computing: u64,
    waiting: u64,
    given_up: bool,
}

pub(crate) struct Site {
    machine: Machine,
    traffic: Traffic,
    import: Import,
    limits: Limits,
    rules: Memory,
    look_at: Duration,
    events: Vec<Event>,
    now: u64,
    slots: Vec<Option<SimulatedChild>>,
    /// The arrival times of the waiting requests.
    queue: VecDeque<u64>,
    /// The most memory that a child has had, in KiB.
    heaviest: Option<u64>,
    /// Processor time of serving children, since when, and the average that the rules get.
    served: u64,
    served_since: u64,
    computing: Option<u32>,
    report: Report,
    last_bad: Option<u64>,
}

impl Site {
    pub(crate) fn new(pool: Pool, import: Import, machine: Machine, traffic: Traffic) -> Self {
        let size = match pool {
            Pool::Fixed { processes } => processes,
            Pool::Apache(elastic) | Pool::Safe(Safe { elastic, .. }) => elastic.max_children(),
        };
        Self {
            machine,
            traffic,
            import,
            limits: Limits {
                pool,
                startup_timeout: Duration::from_secs(3600),
                shutdown_timeout: Duration::from_secs(30),
                recycling: Recycling::default(),
            },
            rules: Memory::default(),
            look_at: Duration::ZERO,
            events: Vec::new(),
            now: 0,
            slots: vec![None; usize::from(size)],
            queue: VecDeque::new(),
            heaviest: None,
            served: 0,
            served_since: 0,
            computing: None,
            report: Report::default(),
            last_bad: None,
        }
    }

    /// Simulates the run; `each_second` is called every second.
    pub(crate) fn run(
        mut self,
        mut each_second: impl FnMut(Moment) -> io::Result<()>,
    ) -> io::Result<Report> {
        let mut arrivals = self.traffic.arrivals().into_iter().peekable();
        while self.now < END {
            while let Some(time) = arrivals.next_if(|time| *time <= self.now) {
                self.arrive(time);
            }
            self.give_up();
            self.dispatch();
            self.work();
            self.supervise();
            self.run_out_of_memory();
            self.watch();
            if self.now.is_multiple_of(SECOND) {
                each_second(self.moment())?;
            }
            self.now += STEP;
        }
        // Requests that still wait and are late already count as late.
        let working = self.slots.iter().flatten().filter_map(|child| child.job);
        let working = working.filter(|job| !job.given_up).map(|job| job.arrived);
        for arrived in working.chain(self.queue.clone()).collect::<Vec<_>>() {
            if self.now - arrived > LATE {
                self.note(arrived, false);
            }
        }
        self.report.well_after = match self.last_bad {
            None => Some(0),
            Some(time) if time + PATIENCE + SECOND > END => None,
            Some(time) => Some((time - SPIKE).div_ceil(SECOND)),
        };
        Ok(self.report)
    }

    fn arrive(&mut self, time: u64) {
        if self.queue.len() < BACKLOG {
            self.queue.push_back(time);
        } else {
            self.note(time, false);
        }
    }

    /// Removes the waiting requests whose clients have given up; a running one runs to its end.
    fn give_up(&mut self) {
        let now = self.now;
        while let Some(arrived) = self.queue.front().copied()
            && now - arrived >= PATIENCE
        {
            self.queue.pop_front();
            self.note(arrived, false);
        }
        let mut lost = Vec::new();
        for job in self
            .slots
            .iter_mut()
            .flatten()
            .filter_map(|child| child.job.as_mut())
        {
            if !job.given_up && now - job.arrived >= PATIENCE {
                job.given_up = true;
                lost.push(job.arrived);
            }
        }
        for arrived in lost {
            self.note(arrived, false);
        }
    }

    /// The child that has been idle for longest takes the oldest request, as children that wait in `accept` do.
    fn dispatch(&mut self) {
        while !self.queue.is_empty() {
            let idle = self
                .slots
                .iter_mut()
                .flatten()
                .filter(|child| child.is_idle());
            let Some(child) = idle.min_by_key(|child| child.idle_since) else {
                return;
            };
            child.job = self.queue.pop_front().map(|arrived| Job {
                arrived,
                computing: self.traffic.computing,
                waiting: self.traffic.waiting,
                given_up: false,
            });
        }
    }

    /// Each process that computes gets an equal share of the cores.
    fn work(&mut self) {
        let computing = self.slots.iter().flatten().filter(|child| child.computes());
        let processes = computing.count() as u64;
        let share = self.machine.share(STEP, processes, self.memory());
        let (now, spiked) = (self.now, self.now >= SPIKE);
        let mut answered = Vec::new();
        for slot in 0..self.slots.len() {
            let Some(child) = &mut self.slots[slot] else {
                continue;
            };
            let before = child.import;
            if child.computes() {
                self.served += if child.serves() { share } else { 0 };
                child.compute(share);
            } else if let Some(job) = &mut child.job {
                job.waiting = job.waiting.saturating_sub(STEP);
            }
            if spiked {
                self.report.importing += before - child.import;
            }
            if let Some(job) = child.job
                && job.computing == 0
                && job.waiting == 0
            {
                child.job = None;
                child.served = true;
                child.idle_since = now;
                answered.extend((!job.given_up).then_some(job.arrived));
            }
            self.progress(slot);
        }
        for arrived in answered {
            self.note(arrived, true);
        }
    }

    /// A child is forked, becomes ready, or leaves.
    fn progress(&mut self, slot: usize) {
        let since = Duration::from_micros(self.now);
        let Some(child) = &mut self.slots[slot] else {
            return;
        };
        match child.seen {
            Child::Ordered { .. } if child.fork == 0 => {
                self.events.push(Event::Born);
                child.seen = Child::Starting { since };
                self.progress(slot);
            }
            Child::Starting { .. } if child.import == 0 || self.import == Import::FirstRequest => {
                // The message that a child is ready makes the supervisor look.
                self.look_at = since;
                child.idle_since = self.now;
                child.seen = Child::Ready { since, busy: 0 };
            }
            Child::Leaving if child.job.is_none() => self.reap(slot, Exit::Normal),
            Child::Ready { since, .. } => {
                let busy = u16::from(child.job.is_some());
                child.seen = Child::Ready { since, busy };
                self.heaviest = self.heaviest.max(Some(child.memory(self.import)));
            }
            _ => {}
        }
    }

    fn reap(&mut self, slot: usize, exit: Exit) {
        self.slots[slot] = None;
        let slot = u16::try_from(slot).expect("slots are numbered by a u16");
        self.events.push(Event::Reaped { slot, exit });
    }

    /// The kernel kills the largest, and its request is lost.
    fn run_out_of_memory(&mut self) {
        while self.machine.is_out_of_memory(self.memory()) {
            let slots = self.slots.iter().enumerate();
            let largest = slots
                .filter_map(|(slot, child)| Some((child.as_ref()?.memory(self.import), slot)))
                .max();
            let Some((_, slot)) = largest else { return };
            let job = self.slots[slot].as_ref().and_then(|child| child.job);
            if let Some(job) = job
                && !job.given_up
            {
                self.note(job.arrived, false);
            }
            self.report.killed += u32::from(self.now >= SPIKE);
            self.reap(slot, Exit::Signal);
        }
    }

    fn measure(&mut self) {
        let window = self.now - self.served_since;
        if window >= WINDOW {
            self.computing = u32::try_from(self.served * 1000 / window).ok();
            (self.served, self.served_since) = (0, self.now);
        }
    }

    fn supervise(&mut self) {
        self.measure();
        let now = Duration::from_micros(self.now);
        if self.events.is_empty() && now < self.look_at {
            return;
        }
        let children: Vec<_> = self
            .slots
            .iter()
            .map(|child| child.as_ref().map_or(Child::Vacant, |child| child.seen))
            .collect();
        let since = Duration::ZERO;
        let events = std::mem::take(&mut self.events);
        let waits = self.queue.front().map_or(0, |arrived| self.now - arrived);
        let seen = Observed {
            now,
            mold: Mold::Ready { since },
            children: &children,
            stats: &[],
            demand: Demand {
                waiting: u32::try_from(self.queue.len()).expect("the queue is bounded"),
                longest_wait: Duration::from_micros(waits),
            },
            weight: self.heaviest.map(|private| Weight {
                shared: self.shared() * 1024,
                private: private * 1024,
            }),
            computing: self.computing,
            events: &events,
        };
        let actions = decide(&self.limits, &mut self.rules, &seen);
        self.look_at = Duration::MAX;
        for action in actions {
            self.perform(action);
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Spawn { slot } => {
                let import = if self.import == Import::Mold {
                    0
                } else {
                    IMPORT
                };
                self.report.forks += u32::from(self.now >= SPIKE);
                self.slots[usize::from(slot)] = Some(SimulatedChild {
                    seen: Child::Ordered {
                        since: Duration::from_micros(self.now),
                    },
                    fork: FORK,
                    import,
                    job: None,
                    served: false,
                    idle_since: 0,
                });
            }
            Action::Retire { slot } => {
                if let Some(child) = &mut self.slots[usize::from(slot)] {
                    child.seen = Child::Leaving;
                }
            }
            Action::LookAgain { at } => self.look_at = at,
            _ => {}
        }
    }

    fn note(&mut self, arrived: u64, answered: bool) {
        if arrived < SPIKE {
            return;
        }
        let late = self.now - arrived > LATE;
        if answered {
            self.report.answered += 1;
            self.report.late += u32::from(late);
        } else {
            self.report.lost += 1;
        }
        if late || !answered {
            self.last_bad = self.last_bad.max(Some(arrived));
        }
    }

    fn shared(&self) -> u64 {
        SYSTEM
            + if self.import == Import::Mold {
                LOADED
            } else {
                0
            }
    }

    fn memory(&self) -> u64 {
        let children = self.slots.iter().flatten();
        self.shared() + children.map(|child| child.memory(self.import)).sum::<u64>()
    }

    fn watch(&mut self) {
        if self.now >= SPIKE {
            self.report.children = self.report.children.max(self.children());
            self.report.memory = self.report.memory.max(self.memory());
        }
    }

    fn children(&self) -> usize {
        self.slots.iter().flatten().count()
    }

    fn moment(&self) -> Moment {
        let count =
            |of: fn(&&SimulatedChild) -> bool| self.slots.iter().flatten().filter(of).count();
        Moment {
            second: self.now / SECOND,
            children: self.children(),
            busy: count(|child| child.job.is_some()),
            importing: count(|child| child.computes() && child.fork == 0 && child.import > 0),
            waiting: self.queue.len(),
            memory: self.memory(),
            answered: self.report.answered,
            late: self.report.late,
            lost: self.report.lost,
        }
    }
}

impl SimulatedChild {
    fn is_idle(&self) -> bool {
        matches!(self.seen, Child::Ready { .. }) && self.job.is_none()
    }

    fn computes(&self) -> bool {
        match self.seen {
            Child::Ordered { .. } => true,
            Child::Starting { .. } => self.import > 0,
            _ => self.job.is_some_and(|job| job.computing > 0),
        }
    }

    /// It has been ready.
    fn serves(&self) -> bool {
        !matches!(self.seen, Child::Ordered { .. } | Child::Starting { .. })
    }

    fn compute(&mut self, time: u64) {
        let left = match (&self.seen, &mut self.job) {
            (Child::Ordered { .. }, _) => &mut self.fork,
            (_, Some(job)) if self.import == 0 => &mut job.computing,
            _ => &mut self.import,
        };
        *left = left.saturating_sub(time);
    }

    fn memory(&self, import: Import) -> u64 {
        match import {
            Import::Mold if self.served => FORKED,
            Import::Mold => BARE,
            _ => BARE + (LOADED - BARE) * (IMPORT - self.import) / IMPORT,
        }
    }
}
