//! Apache's maintenance of its children, to the letter of `prefork.c` and `worker.c` (2.4, one bucket of listeners).
//!
//! Apache's parent works in passes of one second: it checks whether a child has died; if not, it sleeps a second and then
//! counts the scoreboard once. A death during the sleep is noticed only after the next count, for which the scoreboard
//! still shows that child as it was, and so the child is replaced a second later.
//!
//! Three things differ from Apache:
//! - A slot gets its next child only when it is vacant, whereas worker starts a process in the slot of one that is leaving.
//! - A fork does not block the parent. A failed fork is an event that comes later, and the ten seconds that Apache sleeps
//!   after it begin then.
//! - A graceful restart of Apache tells all children to leave at once. Here, on purpose, the former generation serves on
//!   and is counted until the children of the restart have been started, and is then replaced by `turnover`.

use std::time::Duration;

use crate::plan::{MAX_PENDING_ORDERS, Plan};
use crate::{
    Action, Child, ChildStats, Elastic, Event, Exit, Generation, GiveUp, Message, Mpm, Observed,
};

/// The most children started in one pass (`MAX_SPAWN_RATE`).
const MAX_SPAWN_RATE: u16 = 32;

/// From this rate on, the message "server seems busy" is logged.
const BUSY_RATE: u16 = 8;

/// Passes after a graceful restart that do not double the rate.
const HOLD_OFF: u8 = 10;

/// How long the parent sleeps when no child has died (`SCOREBOARD_MAINTENANCE_INTERVAL`).
const PASS: Duration = Duration::from_secs(1);

/// How long the parent sleeps after a fork has failed.
const FORK_FAILED: Duration = Duration::from_secs(10);

/// From so many children killed by signals in one second on, they are not replaced at once any more.
const TOO_MANY_KILLS: u32 = 3;

/// What Apache's parent keeps between two passes.
#[derive(Clone, Debug)]
pub(crate) struct Parent {
    stage: Stage,
    /// Until when the parent sleeps.
    sleeps_until: Duration,
    /// `idle_spawn_rate`: children to start in the next pass that finds too few idle.
    idle_spawn_rate: u16,
    /// `hold_off_on_exponential_spawning`.
    hold_off: u8,
    /// `remaining_children_to_start`: left to start after a start or a restart.
    to_start: u16,
    max_clients_reported: bool,
    near_max_clients_reported: bool,
    sick_child_detected: bool,
    had_healthy_child: bool,
    successive_kills: u32,
    /// The scoreboard as the parent knows it.
    scoreboard: Vec<Score>,
    /// Deaths that the parent has not noticed.
    deaths: Vec<Death>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing has been started.
    NotStarted,
    /// `StartServers` are being started, as fast as the mold forks.
    StartingUp,
    /// The main loop.
    Running,
}

/// A slot of the scoreboard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Score {
    Dead,
    Starting,
    Ready {
        busy: u16,
    },
    Graceful,
    /// It is being replaced, and is not counted.
    Outgoing,
}

#[derive(Clone, Copy, Debug)]
struct Death {
    slot: u16,
    exit: Exit,
}

/// The counts of one pass.
#[derive(Default)]
struct Count {
    idle: u32,
    active: u32,
    total: u16,
}

impl Default for Parent {
    fn default() -> Self {
        Self {
            stage: Stage::NotStarted,
            sleeps_until: Duration::ZERO,
            idle_spawn_rate: 1,
            hold_off: 0,
            to_start: 0,
            max_clients_reported: false,
            near_max_clients_reported: false,
            sick_child_detected: false,
            had_healthy_child: false,
            successive_kills: 0,
            scoreboard: Vec::new(),
            deaths: Vec::new(),
        }
    }
}

impl Parent {
    /// Runs the main loop until the parent sleeps.
    ///
    /// Returns whether no child is lacking.
    pub(crate) fn decide(
        &mut self,
        limits: &Elastic,
        seen: &Observed<'_>,
        plan: &mut Plan,
    ) -> bool {
        self.update_scoreboard(seen);
        self.handle_events(limits, seen, plan);
        if self.stage != Stage::Running {
            self.start(limits, plan);
        }
        if self.stage == Stage::Running && plan.due(self.sleeps_until) {
            self.successive_kills = 0;
            if self.to_start > 0 {
                // The children just started are not ready yet, so a pass now would only start more.
                self.start_remaining(limits, plan);
            } else {
                self.maintain(limits, seen, plan);
            }
            self.notice_deaths(limits, seen, plan);
            self.sleeps_until = plan.now + PASS;
            plan.due(self.sleeps_until);
        }
        self.is_complete(limits)
    }

    /// Whether no child is lacking that may be started.
    fn is_complete(&mut self, limits: &Elastic) -> bool {
        let alive = |score: &&Score| matches!(score, Score::Starting | Score::Ready { .. });
        let at_limit =
            self.scoreboard.iter().filter(alive).count() >= usize::from(limits.max_children());
        let settled = self.stage == Stage::Running
            && self.to_start == 0
            && !self.scoreboard.contains(&Score::Starting);
        settled && (at_limit || self.count(limits).idle >= limits.min_spare())
    }

    /// Events that change the course of the main loop.
    fn handle_events(&mut self, limits: &Elastic, seen: &Observed<'_>, plan: &mut Plan) {
        for event in seen.events {
            match event {
                Event::ForkFailed => {
                    // The start is not continued; later passes start what is lacking.
                    self.to_start = 0;
                    self.stage = Stage::Running;
                    self.sleeps_until = plan.now + FORK_FAILED;
                }
                Event::GracefulRestart => {
                    self.to_start = limits
                        .start_servers()
                        .saturating_sub(count_new_generation(seen));
                    self.hold_off = HOLD_OFF;
                    self.had_healthy_child = false;
                    // The signal ends the sleep, and the main loop begins with the deaths.
                    self.notice_deaths(limits, seen, plan);
                    self.sleeps_until = plan.now + PASS;
                }
                _ => {}
            }
        }
    }

    /// `startup_children`: starts all at once; the first pass comes a second later.
    fn start(&mut self, limits: &Elastic, plan: &mut Plan) {
        if self.stage == Stage::NotStarted {
            self.to_start = limits.start_servers();
            self.stage = Stage::StartingUp;
        }
        self.start_remaining(limits, plan);
        if self.to_start == 0 {
            self.stage = Stage::Running;
            self.sleeps_until = plan.now + PASS;
        }
    }

    /// Copies the states of the slots, except for children whose death the parent has not noticed.
    fn update_scoreboard(&mut self, seen: &Observed<'_>) {
        self.scoreboard.resize(seen.children.len(), Score::Dead);
        for event in seen.events {
            if let Event::Reaped { slot, exit } = *event {
                self.deaths.push(Death { slot, exit });
            }
        }
        for (slot, (score, child)) in (0..).zip(self.scoreboard.iter_mut().zip(seen.children)) {
            if !self.deaths.iter().any(|death| death.slot == slot) {
                *score = Score::of(child);
            }
        }
    }

    /// `perform_idle_server_maintenance`.
    fn maintain(&mut self, limits: &Elastic, seen: &Observed<'_>, plan: &mut Plan) {
        let count = self.count(limits);
        if self.sick_child_detected && limits.mpm() == Mpm::Worker {
            if !self.had_healthy_child {
                plan.add(Action::GiveUp(GiveUp::NeverHealthy));
                return;
            }
            self.sick_child_detected = false;
        }
        if count.idle > limits.max_spare() {
            if let Some(slot) = child_to_retire(seen.children) {
                plan.retire(slot);
            }
            self.idle_spawn_rate = 1;
        } else if count.idle < limits.min_spare() {
            self.grow(limits, &count, plan);
        } else {
            self.idle_spawn_rate = 1;
        }
    }

    fn grow(&mut self, limits: &Elastic, count: &Count, plan: &mut Plan) {
        let rate = self.idle_spawn_rate;
        let free: Vec<u16> = self.free(limits).take(usize::from(rate)).collect();
        let Ok(found @ 1..) = u16::try_from(free.len()) else {
            self.report_full(limits, count, plan);
            self.idle_spawn_rate = 1;
            return;
        };
        // Without a mold, or with too many orders pending, nothing is started, and the rate does not change.
        if plan.room(MAX_PENDING_ORDERS) == 0 {
            return;
        }
        if rate >= BUSY_RATE {
            plan.add(Action::Log(Message::Busy {
                spawning: match limits.mpm() {
                    Mpm::Prefork => rate,
                    Mpm::Worker => found,
                },
                idle: count.idle,
                total: count.total,
            }));
        }
        for slot in free.into_iter().take(plan.room(MAX_PENDING_ORDERS)) {
            self.make_child(slot, plan);
        }
        if self.hold_off > 0 {
            self.hold_off -= 1;
        } else {
            self.idle_spawn_rate = (rate * 2).min(MAX_SPAWN_RATE);
        }
    }

    /// Children are lacking and no slot is free.
    fn report_full(&mut self, limits: &Elastic, count: &Count, plan: &mut Plan) {
        let workers = u32::from(limits.max_children()) * u32::from(limits.threads_per_child());
        let (reported, message) = match limits.mpm() {
            Mpm::Worker if count.active < workers => {
                plan.add(Action::Log(Message::ScoreboardFull));
                return;
            }
            Mpm::Worker if count.idle > 0 => (
                &mut self.near_max_clients_reported,
                Message::NearMaxRequestWorkers,
            ),
            Mpm::Worker | Mpm::Prefork => (
                &mut self.max_clients_reported,
                Message::ReachedMaxRequestWorkers,
            ),
        };
        if !std::mem::replace(reported, true) {
            plan.add(Action::Log(message));
        }
    }

    /// Counts the scoreboard. Starting children count as idle, as in Apache: while they start, more would not help.
    fn count(&mut self, limits: &Elastic) -> Count {
        let threads = limits.threads_per_child();
        let mut count = Count::default();
        for score in &self.scoreboard {
            match score {
                Score::Dead | Score::Outgoing => continue,
                Score::Starting => count.idle += u32::from(threads),
                Score::Ready { busy } => {
                    count.idle += u32::from(threads.saturating_sub(*busy));
                    count.active += u32::from(threads);
                    self.had_healthy_child = true;
                }
                Score::Graceful => {}
            }
            count.total += 1;
        }
        count
    }

    /// Handles each child that has died since the parent noticed deaths last.
    fn notice_deaths(&mut self, limits: &Elastic, seen: &Observed<'_>, plan: &mut Plan) {
        for Death { slot, exit } in std::mem::take(&mut self.deaths) {
            let place = usize::from(slot);
            if let (Some(score), Some(child)) =
                (self.scoreboard.get_mut(place), seen.children.get(place))
            {
                *score = Score::of(child);
            }
            match exit {
                Exit::Fatal(Generation::Current) => {
                    plan.add(Action::GiveUp(GiveUp::FatalExit { slot }));
                    return;
                }
                Exit::Fatal(Generation::Earlier) => self.sick_child_detected = true,
                Exit::Sick => {
                    self.sick_child_detected = true;
                    self.idle_spawn_rate = 1;
                }
                Exit::Normal | Exit::Signal => {}
            }
            if exit != Exit::Sick && self.to_start > 0 && place < self.scoreboard.len() {
                self.replace(slot, limits, plan);
            }
            if exit == Exit::Signal && limits.mpm() == Mpm::Worker {
                self.note_kill(limits, plan);
            }
        }
    }

    /// Starts one child for a dead one, after a graceful restart.
    fn replace(&mut self, slot: u16, limits: &Elastic, plan: &mut Plan) {
        if plan.room(MAX_PENDING_ORDERS) == 0 {
            return;
        }
        let own = (self.scoreboard[usize::from(slot)] == Score::Dead).then_some(slot);
        if let Some(slot) = own.or_else(|| self.free(limits).next()) {
            self.make_child(slot, plan);
            self.to_start -= 1;
        }
    }

    /// Worker replaces a child that was killed by a signal at once, unless several are killed in one second.
    fn note_kill(&mut self, limits: &Elastic, plan: &mut Plan) {
        self.successive_kills += 1;
        if self.successive_kills >= TOO_MANY_KILLS {
            if self.successive_kills % 10 == TOO_MANY_KILLS {
                plan.add(Action::Log(Message::KilledSuccessively));
            }
            return;
        }
        self.to_start = self.to_start.saturating_add(1);
        self.start_remaining(limits, plan);
    }

    /// Starts what is left to start, in the lowest slots: as many as may be ordered now. Those for which no slot is free are
    /// dropped.
    fn start_remaining(&mut self, limits: &Elastic, plan: &mut Plan) {
        while self.to_start > 0 && plan.room(MAX_PENDING_ORDERS) > 0 {
            let Some(slot) = self.free(limits).next() else {
                self.to_start = 0;
                return;
            };
            self.make_child(slot, plan);
            self.to_start -= 1;
        }
    }

    fn make_child(&mut self, slot: u16, plan: &mut Plan) {
        self.scoreboard[usize::from(slot)] = Score::Starting;
        plan.spawn(slot);
    }

    /// Slots in which a child may be started: no more than `MaxRequestWorkers` allows, although more slots may be vacant.
    fn free(&self, limits: &Elastic) -> impl Iterator<Item = u16> {
        let taken = |score: &&Score| !matches!(score, Score::Dead | Score::Outgoing);
        let room = usize::from(limits.max_children())
            .saturating_sub(self.scoreboard.iter().filter(taken).count());
        (0..)
            .zip(&self.scoreboard)
            .filter(|(_, score)| **score == Score::Dead)
            .map(|(slot, _)| slot)
            .take(room)
    }
}

/// Children of the new generation, which has at least one when it becomes the current one.
fn count_new_generation(seen: &Observed<'_>) -> u16 {
    let is_there = |(child, stats): &(&Child, &ChildStats)| {
        stats.is_current && matches!(child, Child::Starting { .. } | Child::Ready { .. })
    };
    let there = seen.children.iter().zip(seen.stats).filter(is_there);
    u16::try_from(there.count()).unwrap_or(u16::MAX)
}

impl Score {
    fn of(child: &Child) -> Self {
        match *child {
            Child::Vacant => Self::Dead,
            Child::Ordered { .. } | Child::Starting { .. } => Self::Starting,
            Child::Ready { busy, .. } => Self::Ready { busy },
            Child::Draining { .. } | Child::Leaving | Child::Gone => Self::Graceful,
            Child::Outgoing => Self::Outgoing,
        }
    }
}

/// The child with the fewest requests, and of several the one in the highest slot. In Apache it is the one that happens to
/// read the byte in the pipe of death: mostly an idle one, which is woken by it.
fn child_to_retire(children: &[Child]) -> Option<u16> {
    let candidates = (0..).zip(children).filter_map(|(slot, child)| {
        let busy = match *child {
            Child::Ready { busy, .. } => u32::from(busy),
            // It would read the pipe only once it is ready, so it comes last.
            Child::Starting { .. } => u32::MAX,
            _ => return None,
        };
        Some((busy, slot))
    });
    candidates
        .min_by_key(|(busy, slot)| (*busy, std::cmp::Reverse(*slot)))
        .map(|(_, slot)| slot)
}
