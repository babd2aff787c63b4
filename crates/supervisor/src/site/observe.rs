//! What the rules are told about children beyond their being there: requests, idleness, memory.

use std::time::Duration;

use nix::unistd::{Pid, getpid};
use pool::{Life, Pool, Weight};

use crate::site::Site;
use crate::site::cpu::used;
use crate::site::slots::{Child, Phase, Slot};
use crate::sys::procfs::Memory;

/// How often memory is measured, when somebody wants to know.
const WEIGHING: Duration = Duration::from_secs(1);

/// How often it is looked whether children have had nothing to do, as a part of the time after which they are recycled.
const LOOKS_AT_IDLENESS: u32 = 4;

/// How often an elastic pool is looked at while requests wait.
const WATCHING: Duration = Duration::from_millis(50);

/// A child comes to about a third of what was loaded before it was forked; right after that, it has nothing of its own.
const EXPECTED_PART: u64 = 3;

impl Site<'_> {
    /// Somebody wants to know how busy children are.
    pub(crate) fn counts_requests(&self) -> bool {
        let recycling = self.settings.recycling;
        recycling.max_requests > 0 || !recycling.inactivity_timeout.is_zero()
    }

    /// The memory of children is of interest.
    fn weighs(&self) -> bool {
        let budget = matches!(self.settings.pool, Pool::Safe(safe) if safe.memory_budget.is_some());
        budget || self.settings.recycling.max_memory > 0
    }

    /// When something has to be looked at that nobody tells of. `waiting`: requests wait.
    pub(crate) fn look_due(&self, waiting: bool) -> Option<Duration> {
        let now = self.now();
        let idleness = self.settings.recycling.inactivity_timeout;
        let ready = |slot: &Slot| {
            slot.child()
                .is_some_and(|child| child.phase == Phase::Ready)
        };
        let any_ready = self.slots.iter().any(ready);
        let looks = [
            (any_ready && !idleness.is_zero()).then(|| now + idleness / LOOKS_AT_IDLENESS),
            (any_ready && self.weighs()).then_some(self.observed.weighed + WEIGHING),
            (waiting && !matches!(self.pool(), Pool::Fixed { .. })).then(|| now + WATCHING),
        ];
        looks.into_iter().flatten().min()
    }

    /// What each slot's child has behind it.
    pub(crate) fn lives(&mut self, busy: &[u16]) -> Vec<Life> {
        let (now, generation) = (self.now(), self.generation);
        let board = self.exchange.scoreboard();
        let counts = self.counts_requests();
        let life = |(slot, busy): (&mut Slot, &u16)| {
            let Some(child) = slot.child_mut() else {
                return Life {
                    is_current: true,
                    requests: 0,
                    idle_since: None,
                    private: None,
                };
            };
            let record = &mut child.record;
            let requests = if counts {
                board.served(child.id.slot) - record.served_before
            } else {
                0
            };
            if *busy > 0 || requests != record.served.0 {
                record.served = (requests, now);
            }
            Life {
                // One that has just been ordered of the next generation is none of an earlier one.
                is_current: child.leaving || child.generation >= generation,
                requests,
                idle_since: (requests > 0 && *busy == 0).then_some(record.served.1),
                private: record.private,
            }
        };
        self.slots.iter_mut().zip(busy).map(life).collect()
    }

    /// Looks how much of the processor those that serve take, if a rule wants to know.
    pub(super) fn compute(&mut self, front: Option<Pid>) -> Option<u32> {
        if !matches!(self.pool(), Pool::Safe(_)) {
            return None;
        }
        let now = self.now();
        let ready = |child: &&Child| child.phase == Phase::Ready;
        let children = self.slots.iter().filter_map(Slot::child).filter(ready);
        let serving = children.filter_map(|child| child.pid);
        let serving = serving.chain(front);
        self.observed.cpu.look(now, serving, used)
    }

    /// Measures what processes take, if it is time to.
    pub(super) fn weigh(&mut self, front: Option<Pid>) -> Option<Weight> {
        if !self.weighs() {
            return None;
        }
        let now = self.now();
        let ready = |child: &&mut Child| child.phase == Phase::Ready && !child.leaving;
        let has_new = self
            .slots
            .iter()
            .filter_map(Slot::child)
            .any(|child| child.phase == Phase::Ready && child.record.private.is_none());
        if self.observed.weight.is_some() && now < self.observed.weighed + WEIGHING && !has_new {
            return self.observed.weight;
        }
        self.observed.weighed = now;
        let others = [
            Some(getpid()),
            front,
            self.molds.serving.as_ref().map(|mold| mold.pid),
        ];
        let others: Vec<_> = others
            .into_iter()
            .flatten()
            .map(|pid| Memory::of(pid.as_raw().cast_unsigned()).unwrap_or_default())
            .collect();
        let mut shared: u64 = others.iter().map(|taken| taken.proportional).sum();
        let loaded = match (&self.molds.serving, self.preload) {
            (Some(_), true) => others.last().map_or(0, |mold| mold.proportional),
            _ => 0,
        };
        let mut measured = false;
        for child in self
            .slots
            .iter_mut()
            .filter_map(Slot::child_mut)
            .filter(ready)
        {
            if let Some(taken) = child
                .pid
                .and_then(|pid| Memory::of(pid.as_raw().cast_unsigned()))
            {
                child.record.private = Some(taken.private);
                self.observed.heaviest = self.observed.heaviest.max(taken.private);
                shared += taken.proportional.saturating_sub(taken.private);
                measured = true;
            }
        }
        if measured {
            let private = self.observed.heaviest.max(loaded / EXPECTED_PART);
            self.observed.weight = Some(Weight { shared, private });
        }
        self.observed.weight
    }
}
