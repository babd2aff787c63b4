//! The elastic pool that cannot snowball: Apache's directives with another rule of growth.
//!
//! Apache starts children because none is idle, and the children that it starts take the processor from those that work,
//! so that even fewer are idle. Here a starting child counts as what it will be, no more start at a time than there are
//! cores (than those who serve leave, once there are some), and only as many as are lacking. The pool also grows when
//! requests wait too long although it seems large enough, and it shrinks only by children that hold no request, and only
//! after they were idle for a while.

use std::time::Duration;

use crate::paces::Paces;
use crate::plan::{ORDERS_AHEAD, Plan};
use crate::{Action, Child, Message, Observed, Safe};

/// How often the pool is looked at when nothing happens.
const TICK: Duration = Duration::from_millis(250);

/// A request that has waited for so long asks for one more child.
const QUEUE_DELAY: Duration = Duration::from_millis(100);

/// How long too many have to be idle, without a break, before the first leaves: load that comes back meanwhile finds it.
const PATIENCE: Duration = Duration::from_secs(30);

/// From one child that leaves to the next, as with Apache.
const STEP: Duration = Duration::from_secs(1);

/// What computing is counted in: thousandths.
const CORE: u32 = 1000;

/// A core of which no more than a quarter is taken counts as left.
const ROUNDING: u32 = 750;

/// What is kept between two looks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Growth {
    /// `StartServers` have been there.
    started: bool,
    /// Since when there have been too many without a break.
    surplus_since: Option<Duration>,
    /// When the next child may leave.
    next_leave: Duration,
    limit_reported: bool,
    budget_reported: bool,
}

/// What is seen, counted.
struct View<'a> {
    limits: &'a Safe,
    seen: &'a Observed<'a>,
    count: Count,
    /// Children that the memory budget holds; all when there is none.
    affordable: u16,
    /// There is a budget, and what a child weighs is not known.
    unmeasured: bool,
}

/// What the slots hold.
#[derive(Default)]
struct Count {
    /// Children that serve or will.
    alive: u16,
    /// All that take memory, those that leave included.
    present: u16,
    starting: u16,
    /// Threads without a request, those of starting children included.
    idle: u32,
}

impl<'a> View<'a> {
    fn of(limits: &'a Safe, seen: &'a Observed<'a>) -> Self {
        let affordable = match (limits.memory_budget, seen.weight) {
            (None, _) => u16::MAX,
            // Before the first has been weighed, nobody knows how many fit in.
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
    fn most(&self) -> u16 {
        self.limits.elastic.max_children().min(self.affordable)
    }

    /// The cores that are left by those that serve: what these lose to imports under load, they are late.
    fn cores_to_start_with(&self) -> u16 {
        let cores = self.limits.cores.max(1);
        let half = (cores / 2).max(1);
        let Some(computing) = self.seen.computing else {
            return half;
        };
        let left = (u32::from(cores) * CORE).saturating_sub(computing) + ROUNDING;
        // Also where nothing is left: more children are the way out of it, unless the machine is too small anyway.
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
                // One that is being replaced keeps its place until the other one is ready, whatever the bounds are.
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
    /// Grows or shrinks. Tells whether the pool has what it wants, as far as it may.
    pub(crate) fn look(
        &mut self,
        limits: &Safe,
        paces: &Paces,
        seen: &Observed<'_>,
        plan: &mut Plan,
    ) -> bool {
        let view = View::of(limits, seen);
        let lacking = self.lacking(&view);
        if lacking == 0 {
            self.shrink(&view, plan);
        } else {
            self.surplus_since = None;
            self.grow(paces, &view, lacking, plan);
        }
        plan.due(seen.now + TICK);
        view.count.starting == 0 && (lacking == 0 || view.count.alive >= view.most())
    }

    /// Children that are lacking, whether they may be started or not.
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
            // Requests that wait while threads are idle wait for something that those threads lack, the GIL for
            // instance. One more child at a time tells whether it helps.
            if view.count.starting == 0 {
                threads = threads.max(1);
            }
        }
        threads.div_ceil(u32::from(elastic.threads_per_child()))
    }

    /// Lets one idle child leave, when there have been too many for long enough.
    fn shrink(&mut self, view: &View<'_>, plan: &mut Plan) {
        let View { seen, count, .. } = view;
        let too_many =
            count.idle > view.limits.elastic.max_spare() || count.alive > view.affordable;
        let calm = count.starting == 0 && seen.demand.waiting == 0;
        // One child is never too many: the directives keep more spare than it has threads, and the budget holds it.
        if !too_many || !calm {
            self.surplus_since = None;
            return;
        }
        let since = *self.surplus_since.get_or_insert(seen.now);
        if !plan.due((since + PATIENCE).max(self.next_leave)) {
            return;
        }
        let idle = (0..)
            .zip(seen.children)
            .filter(|(_, child)| matches!(child, Child::Ready { busy: 0, .. }));
        if let Some((slot, _)) = idle.last() {
            plan.retire(slot);
            self.next_leave = seen.now + STEP;
            self.limit_reported = false;
            self.budget_reported = false;
        }
    }

    /// Says once what keeps the pool from growing.
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
    fn grow(&mut self, paces: &Paces, view: &View<'_>, lacking: u32, plan: &mut Plan) {
        let room = view.most().saturating_sub(view.count.present);
        if room == 0 {
            self.report(view, plan);
            return;
        }
        if !plan.can_fork() || !plan.due(paces.next_birth()) {
            return;
        }
        let at_once = if paces.births.is_troubled() || paces.forks.is_troubled() {
            // After a failure one child at a time finds out whether the next will do better.
            1
        } else if self.started {
            view.cores_to_start_with()
        } else {
            view.limits.cores.max(1)
        };
        let number = usize::from(room.min(at_once.saturating_sub(view.count.starting)))
            .min(usize::try_from(lacking).unwrap_or(usize::MAX))
            .min(plan.room(ORDERS_AHEAD));
        let vacant = (0..)
            .zip(view.seen.children)
            .filter(|(_, child)| **child == Child::Vacant);
        for (slot, _) in vacant.take(number) {
            plan.spawn(slot);
        }
    }
}
