//! The elastic pool that cannot snowball: Apache's directives with another rule of growth.
//!
//! Apache starts children because few are idle, and the starting children take the processor from those that work, so that
//! even fewer are idle: the snowball. Here a starting child counts as idle until it is ready, only as many are started as
//! are lacking, and no more start at the same time than there are cores (once children serve: than these leave). The pool
//! also grows when requests wait too long although threads are idle. It shrinks only by children without a request, and
//! only after there were too many for a while.

use std::time::Duration;

use crate::backoffs::Backoffs;
use crate::plan::{MAX_PENDING_ORDERS, Plan};
use crate::{Action, Child, Message, Observed, Safe};

/// From one look to the next when nothing happens.
const TICK: Duration = Duration::from_millis(250);

/// When a request has waited for so long, the pool grows.
const QUEUE_DELAY: Duration = Duration::from_millis(100);

/// How long there must be too many idle threads, without a break, before the first child leaves, since load may come back.
const SURPLUS_PERIOD: Duration = Duration::from_secs(30);

/// From one retired child to the next, as with Apache.
const SHRINK_INTERVAL: Duration = Duration::from_secs(1);

/// One core in the unit of [`Observed::computing`].
const CORE: u32 = 1000;

/// A core of which no more than a quarter is used counts as free.
const ROUNDING: u32 = 750;

/// What is kept from look to look.
#[derive(Clone, Debug, Default)]
pub(crate) struct Growth {
    /// `StartServers` children have been there.
    started: bool,
    /// Since when there have been too many without a break.
    surplus_since: Option<Duration>,
    /// When the next child may be retired.
    next_leave: Duration,
    limit_reported: bool,
    budget_reported: bool,
}

/// What is observed, and the counts made of it.
struct View<'a> {
    limits: &'a Safe,
    seen: &'a Observed<'a>,
    count: Count,
    /// Children for which the memory budget has room; `u16::MAX` without a budget.
    affordable: u16,
    /// There is a budget, and a child's memory is not known yet.
    unmeasured: bool,
}

/// Counts over all slots.
#[derive(Default)]
struct Count {
    /// Children that serve, or start.
    alive: u16,
    /// All that take memory, leaving ones included.
    present: u16,
    starting: u16,
    /// Threads without a request, those of starting children included.
    idle: u32,
}

impl<'a> View<'a> {
    fn of(limits: &'a Safe, seen: &'a Observed<'a>) -> Self {
        let affordable = match (limits.memory_budget, seen.weight) {
            (None, _) => u16::MAX,
            // Before the first has been measured, it is not known how many fit in.
            (Some(_), None) => 1,
            (Some(budget), Some(weight)) => {
                let children = budget.saturating_sub(weight.shared) / weight.private.max(1);
                u16::try_from(children).unwrap_or(u16::MAX).max(1)
            }
        };
        Self {
            limits,
            seen,
            count: Count::of(limits.elastic.threads_per_child(), seen.children),
            affordable,
            unmeasured: limits.memory_budget.is_some() && seen.weight.is_none(),
        }
    }

    /// As many children as there may be.
    fn max_children(&self) -> u16 {
        self.limits.elastic.max_children().min(self.affordable)
    }

    /// The cores on which children may start: those that serving children leave free, so that requests are not delayed.
    fn cores_to_start_with(&self) -> u16 {
        let cores = self.limits.cores.max(1);
        let half = (cores / 2).max(1);
        let Some(computing) = self.seen.computing else {
            return half;
        };
        let left = (u32::from(cores) * CORE).saturating_sub(computing) + ROUNDING;
        // At least half, also where no core is free, since more children may be what the load needs.
        u16::try_from(left / CORE)
            .unwrap_or(cores)
            .clamp(half, cores)
    }

    fn is_delayed(&self) -> bool {
        self.seen.demand.waiting > 0 && self.seen.demand.longest_wait >= QUEUE_DELAY
    }
}

impl Count {
    fn of(threads: u16, children: &[Child]) -> Self {
        let mut count = Self::default();
        for child in children {
            let idle = match *child {
                // An outgoing child stays until its replacement is ready, and is not counted.
                Child::Vacant | Child::Gone | Child::Outgoing => continue,
                Child::Draining { .. } | Child::Leaving => {
                    count.present += 1;
                    continue;
                }
                Child::Ordered { .. } | Child::Starting { .. } => {
                    count.starting += 1;
                    threads
                }
                Child::Ready { busy, .. } => threads.saturating_sub(busy),
            };
            count.present += 1;
            count.alive += 1;
            count.idle += u32::from(idle);
        }
        count
    }
}

impl Growth {
    /// Grows or shrinks. Returns whether no child is lacking that may be started.
    pub(crate) fn decide(
        &mut self,
        limits: &Safe,
        backoffs: &Backoffs,
        seen: &Observed<'_>,
        plan: &mut Plan,
    ) -> bool {
        let view = View::of(limits, seen);
        let lacking = self.lacking(&view);
        if lacking == 0 {
            self.shrink(&view, plan);
        } else {
            self.surplus_since = None;
            self.grow(backoffs, &view, lacking, plan);
        }
        plan.due(seen.now + TICK);
        view.count.starting == 0 && (lacking == 0 || view.count.alive >= view.max_children())
    }

    /// How many children are lacking, whether they may be started or not.
    fn lacking(&mut self, view: &View<'_>) -> u32 {
        let elastic = &view.limits.elastic;
        let mut to_start = elastic.start_servers();
        if !view.unmeasured {
            to_start = to_start.min(view.affordable);
        }
        if !self.started && view.count.alive < to_start {
            return u32::from(to_start - view.count.alive);
        }
        self.started = true;
        let mut threads = elastic.min_spare().saturating_sub(view.count.idle);
        if view.is_delayed() {
            let wanted = elastic.min_spare().saturating_add(view.seen.demand.waiting);
            threads = wanted.saturating_sub(view.count.idle);
            // Requests that wait while threads are idle wait for something else, the GIL for instance. One more child at
            // a time shows whether it helps.
            if view.count.starting == 0 {
                threads = threads.max(1);
            }
        }
        threads.div_ceil(u32::from(elastic.threads_per_child()))
    }

    /// Retires one idle child when there have been too many for long enough.
    fn shrink(&mut self, view: &View<'_>, plan: &mut Plan) {
        let View { seen, count, .. } = view;
        let too_many =
            count.idle > view.limits.elastic.max_spare() || count.alive > view.affordable;
        let settled = count.starting == 0 && seen.demand.waiting == 0;
        // The last child is never too many: `max_spare` is larger than its threads, and the budget always has room for one.
        if !too_many || !settled {
            self.surplus_since = None;
            return;
        }
        let since = *self.surplus_since.get_or_insert(seen.now);
        if !plan.due((since + SURPLUS_PERIOD).max(self.next_leave)) {
            return;
        }
        let idle = (0..)
            .zip(seen.children)
            .filter(|(_, child)| matches!(child, Child::Ready { busy: 0, .. }));
        if let Some((slot, _)) = idle.last() {
            plan.retire(slot);
            self.next_leave = seen.now + SHRINK_INTERVAL;
            self.limit_reported = false;
            self.budget_reported = false;
        }
    }

    /// Logs once what keeps the pool from growing.
    fn report(&mut self, view: &View<'_>, plan: &mut Plan) {
        if view.limits.elastic.max_children() <= view.affordable {
            if !std::mem::replace(&mut self.limit_reported, true) {
                plan.add(Action::Log(Message::ReachedMaxRequestWorkers));
            }
        } else if let Some(budget) = view.limits.memory_budget
            && !view.unmeasured
            && !std::mem::replace(&mut self.budget_reported, true)
        {
            plan.add(Action::Log(Message::ReachedMemoryBudget {
                budget,
                children: view.affordable,
            }));
        }
    }

    /// Starts what is lacking, as far as the bounds, the cores and earlier failures allow.
    fn grow(&mut self, backoffs: &Backoffs, view: &View<'_>, lacking: u32, plan: &mut Plan) {
        let room = view.max_children().saturating_sub(view.count.present);
        if room == 0 {
            self.report(view, plan);
            return;
        }
        if !plan.can_fork() || !plan.due(backoffs.next_start()) {
            return;
        }
        let starting_limit = if backoffs.starts.has_failed() || backoffs.forks.has_failed() {
            // After a failure one child at a time is started, to find out whether starts work again.
            1
        } else if self.started {
            view.cores_to_start_with()
        } else {
            view.limits.cores.max(1)
        };
        let number = usize::from(room.min(starting_limit.saturating_sub(view.count.starting)))
            .min(usize::try_from(lacking).unwrap_or(usize::MAX))
            .min(plan.room(MAX_PENDING_ORDERS));
        let vacant = (0..)
            .zip(view.seen.children)
            .filter(|(_, child)| **child == Child::Vacant);
        for (slot, _) in vacant.take(number) {
            plan.spawn(slot);
        }
    }
}
