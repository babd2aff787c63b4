//! What the rules learn about running children: requests, idleness, memory.

use std::time::Duration;

use nix::unistd::{Pid, getpid};
use pool::{ChildStats, Pool, Weight};

use crate::site::Site;
use crate::site::cpu::used;
use crate::site::slots::{Child, Phase, Slot};
use crate::sys::procfs::Memory;

/// The interval of memory measurements, when a rule needs them.
const MEMORY_INTERVAL: Duration = Duration::from_secs(1);

/// Checks for idle children within the time after which they are recycled.
const IDLE_CHECKS: u32 = 4;

/// The interval of checks of an elastic pool while requests wait.
const WAIT_CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// The expected private memory of a child is this part of what was loaded before the fork; right after the fork it
/// has none.
const EXPECTED_PART: u64 = 3;

impl Site<'_> {
    /// Whether a rule needs the number of requests.
    pub(crate) fn counts_requests(&self) -> bool {
        let recycling = self.settings.recycling;
        recycling.max_requests > 0 || !recycling.inactivity_timeout.is_zero()
    }

    /// Whether a rule needs the memory of children.
    fn measures_memory(&self) -> bool {
        let budget = matches!(self.settings.pool, Pool::Safe(safe) if safe.memory_budget.is_some());
        budget || self.settings.recycling.max_memory > 0
    }

    /// When the next check without an event source is due. `waiting`: requests wait.
    pub(crate) fn look_due(&self, waiting: bool) -> Option<Duration> {
        let now = self.now();
        let idleness = self.settings.recycling.inactivity_timeout;
        let ready = |slot: &Slot| {
            slot.child()
                .is_some_and(|child| child.phase == Phase::Ready)
        };
        let any_ready = self.slots.iter().any(ready);
        let looks = [
            (any_ready && !idleness.is_zero()).then(|| now + idleness / IDLE_CHECKS),
            (any_ready && self.measures_memory())
                .then_some(self.observed.measured + MEMORY_INTERVAL),
            (waiting && !matches!(self.pool(), Pool::Fixed { .. }))
                .then(|| now + WAIT_CHECK_INTERVAL),
        ];
        looks.into_iter().flatten().min()
    }

    /// The lifetime counters of each slot's child.
    pub(crate) fn child_stats(&mut self, busy: &[u16]) -> Vec<ChildStats> {
        let (now, generation) = (self.now(), self.generation);
        let board = self.exchange.scoreboard();
        let counts = self.counts_requests();
        let stats = |(slot, busy): (&mut Slot, &u16)| {
            let Some(child) = slot.child_mut() else {
                return ChildStats {
                    is_current: true,
                    requests: 0,
                    idle_since: None,
                    private: None,
                    terminated: false,
                };
            };
            let terminated = child.terminated;
            let record = &mut child.record;
            let requests = if counts {
                board.served(child.id.slot) - record.served_before
            } else {
                0
            };
            if *busy > 0 || requests != record.served.0 {
                record.served = (requests, now);
            }
            ChildStats {
                // A child just ordered for the next generation does not belong to a former one.
                is_current: child.leaving || child.generation >= generation,
                requests,
                idle_since: (requests > 0 && *busy == 0).then_some(record.served.1),
                private: record.private,
                terminated,
            }
        };
        self.slots.iter_mut().zip(busy).map(stats).collect()
    }

    /// Measures the CPU usage of the serving processes, if a rule needs it.
    pub(super) fn measure_cpu(&mut self, front: Option<Pid>) -> Option<u32> {
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

    /// Measures the memory of the processes, if it is due.
    pub(super) fn measure_memory(&mut self, front: Option<Pid>) -> Option<Weight> {
        if !self.measures_memory() {
            return None;
        }
        let now = self.now();
        let ready = |child: &&mut Child| child.phase == Phase::Ready && !child.leaving;
        let has_new = self
            .slots
            .iter()
            .filter_map(Slot::child)
            .any(|child| child.phase == Phase::Ready && child.record.private.is_none());
        if self.observed.weight.is_some()
            && now < self.observed.measured + MEMORY_INTERVAL
            && !has_new
        {
            return self.observed.weight;
        }
        self.observed.measured = now;
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
                self.observed.largest_private = self.observed.largest_private.max(taken.private);
                shared += taken.proportional.saturating_sub(taken.private);
                measured = true;
            }
        }
        if measured {
            let private = self.observed.largest_private.max(loaded / EXPECTED_PART);
            self.observed.weight = Some(Weight { shared, private });
        }
        self.observed.weight
    }
}
