//! A simulated pool: children start, take requests, leave when told and die when the test kills them.

use std::time::Duration;

use crate::{
    Action, Child, Demand, Event, Exit, Limits, Memory, Mold, Observed, Pool, Recycling, Safe,
    Weight, decide,
};

/// From one look to the next.
pub(super) const STEP: Duration = Duration::from_millis(100);

/// How long a child takes to leave, once it is told to.
const LEAVING: Duration = Duration::from_millis(200);

/// The longest that it may take.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Clone, Debug)]
pub(super) struct World {
    limits: Limits,
    memory: Memory,
    threads: u16,
    most: u16,
    /// How long a child takes to start.
    import: Duration,
    /// Children do not leave when they are told to.
    pub(super) never_leave: bool,
    pub(super) weight: Option<Weight>,
    now: Duration,
    slots: Vec<Child>,
    waiting_since: Option<Duration>,
    events: Vec<Event>,
    /// Everything that was done, with its time.
    pub(super) history: Vec<(Duration, Action)>,
}

impl World {
    pub(super) fn new(pool: Pool, import: Duration) -> Self {
        let elastic = match pool {
            Pool::Apache(elastic) | Pool::Safe(Safe { elastic, .. }) => elastic,
            Pool::Fixed { .. } => panic!("a fixed pool has no properties"),
        };
        let slots = usize::from(elastic.max_children());
        Self {
            limits: Limits {
                pool,
                startup_timeout: Duration::from_secs(3600),
                shutdown_timeout: SHUTDOWN_TIMEOUT,
                recycling: Recycling::default(),
            },
            memory: Memory::default(),
            threads: elastic.threads_per_child(),
            most: elastic.max_children(),
            import,
            never_leave: false,
            weight: None,
            now: Duration::ZERO,
            slots: vec![Child::Vacant; slots],
            waiting_since: None,
            events: Vec::new(),
            history: Vec::new(),
        }
    }

    /// Runs for some time under a load of so many requests at once.
    pub(super) fn run(&mut self, time: Duration, load: u32) {
        let end = self.now + time;
        while self.now < end {
            self.advance();
            let demand = self.serve(load);
            self.look(demand);
            self.now += STEP;
        }
    }

    /// Kills the child in a slot, if there is one.
    pub(super) fn kill(&mut self, slot: u16) {
        let Some(child) = self.slots.get_mut(usize::from(slot)) else {
            return;
        };
        if matches!(child, Child::Ordered { .. } | Child::Starting { .. }) {
            self.events.push(Event::DiedStarting);
        }
        if *child != Child::Vacant {
            *child = Child::Vacant;
            let exit = Exit::Signal;
            self.events.push(Event::Reaped { slot, exit });
        }
    }

    pub(super) fn alive(&self) -> usize {
        let gone = |child: &&Child| {
            matches!(
                child,
                Child::Vacant | Child::Draining { .. } | Child::Leaving | Child::Gone
            )
        };
        self.slots.len() - self.slots.iter().filter(gone).count()
    }

    fn advance(&mut self) {
        let now = self.now;
        for (slot, child) in (0..).zip(&mut self.slots) {
            match *child {
                Child::Ordered { .. } => {
                    self.events.push(Event::Born);
                    *child = Child::Starting { since: now };
                }
                Child::Starting { since } if now - since >= self.import => {
                    let (since, busy) = (now, 0);
                    *child = Child::Ready { since, busy };
                }
                Child::Draining { since } if !self.never_leave && now - since >= LEAVING => {
                    let exit = Exit::Normal;
                    *child = Child::Vacant;
                    self.events.push(Event::Reaped { slot, exit });
                }
                Child::Leaving => {
                    let exit = Exit::Signal;
                    *child = Child::Vacant;
                    self.events.push(Event::Reaped { slot, exit });
                }
                _ => {}
            }
        }
    }

    fn serve(&mut self, load: u32) -> Demand {
        let mut waiting = load;
        for child in &mut self.slots {
            if let Child::Ready { busy, .. } = child {
                *busy = self.threads.min(u16::try_from(waiting).unwrap());
                waiting -= u32::from(*busy);
            }
        }
        let since = (waiting > 0).then(|| self.waiting_since.unwrap_or(self.now));
        self.waiting_since = since;
        Demand {
            waiting,
            longest_wait: since.map_or(Duration::ZERO, |since| self.now - since),
        }
    }

    /// A thread that has a request takes a tenth of a core.
    fn computing(&self) -> u32 {
        let busy = self.slots.iter().map(|child| match child {
            Child::Ready { busy, .. } => u32::from(*busy),
            _ => 0,
        });
        busy.sum::<u32>() * 100
    }

    fn look(&mut self, demand: Demand) {
        let since = Duration::ZERO;
        let events = std::mem::take(&mut self.events);
        let seen = Observed {
            now: self.now,
            mold: Mold::Ready { since },
            children: &self.slots,
            stats: &[],
            demand,
            weight: self.weight,
            computing: Some(self.computing()),
            events: &events,
        };
        let actions = decide(&self.limits, &mut self.memory, &seen);
        for action in &actions {
            self.perform(*action);
        }
        self.check(&actions);
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Spawn { slot } => {
                let place = &mut self.slots[usize::from(slot)];
                assert_eq!(
                    *place,
                    Child::Vacant,
                    "a child is started only in a vacant slot"
                );
                *place = Child::Ordered { since: self.now };
            }
            Action::Retire { slot } => {
                let place = &mut self.slots[usize::from(slot)];
                let idle = matches!(place, Child::Ready { busy: 0, .. });
                assert!(idle || matches!(self.limits.pool, Pool::Apache(_)));
                *place = Child::Draining { since: self.now };
                assert!(self.alive() > 0, "the last child stays");
            }
            Action::Kill { slot } => {
                let place = &mut self.slots[usize::from(slot)];
                let Child::Draining { since } = *place else {
                    panic!("{place:?} is killed without a cause");
                };
                assert!(self.never_leave && self.now - since == SHUTDOWN_TIMEOUT);
                *place = Child::Leaving;
            }
            Action::Log(_) => {}
            Action::LookAgain { at } => {
                assert!(at > self.now && at <= self.now + Duration::from_secs(3600));
                return;
            }
            other => panic!("{other:?} without a cause"),
        }
        self.history.push((self.now, action));
    }

    /// Checks the bounds that hold at every look.
    fn check(&self, actions: &[Action]) {
        self.check_deadlines(actions);
        let count = |of: fn(&Action) -> bool| actions.iter().filter(|action| of(action)).count();
        let spawned = count(|action| matches!(action, Action::Spawn { .. }));
        assert!(count(|action| matches!(action, Action::Retire { .. })) <= 1);
        assert!(spawned <= 32);
        let present = self
            .slots
            .iter()
            .filter(|child| **child != Child::Vacant)
            .count();
        assert!(present <= usize::from(self.most));
        let Pool::Safe(safe) = self.limits.pool else {
            return;
        };
        let starting =
            |child: &&Child| matches!(child, Child::Ordered { .. } | Child::Starting { .. });
        assert!(self.slots.iter().filter(starting).count() <= usize::from(safe.cores.max(1)));
        if let (Some(budget), 1.., 2..) = (safe.memory_budget, spawned, present) {
            let weight = self
                .weight
                .expect("more than one child is started only after one was weighed");
            let memory = weight.shared + weight.private * present as u64;
            assert!(memory <= budget, "{present} children do not fit in");
        }
    }

    /// The next look comes no later than the first deadline of a child that has been ordered or told to leave.
    fn check_deadlines(&self, actions: &[Action]) {
        let limits = self.slots.iter().filter_map(|child| match *child {
            Child::Ordered { since } | Child::Starting { since } => {
                Some(since + self.limits.startup_timeout)
            }
            Child::Draining { since } => Some(since + SHUTDOWN_TIMEOUT),
            _ => None,
        });
        let again = actions.iter().find_map(|action| match *action {
            Action::LookAgain { at } => Some(at),
            _ => None,
        });
        if let Some(limit) = limits.min() {
            assert!(again.is_some_and(|again| again <= limit));
        }
    }
}
