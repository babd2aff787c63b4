//! Apache's maintenance of its children, to the letter of `prefork.c` and `worker.c` (2.4, one bucket of listeners).
//!
//! Apache's parent lives by seconds: it asks whether a child has died; if not, it sleeps a second and then looks at the
//! scoreboard once. It sleeps through deaths. One that happens meanwhile is noticed after the next look at the
//! scoreboard, which still shows that child as it was, and is made good a second later.
//!
//! Two things differ, because slots and forks are others. A slot has its next child only when it is vacant, whereas
//! worker starts a process in the slot of one that is leaving. And a fork does not keep the parent waiting: one that
//! has failed is heard of later, and the ten seconds that Apache then sleeps begin there.
//!
//! A third differs on purpose: a graceful restart of Apache tells all children to go at once. Here the former generation
//! serves on and is counted, as long as the new one has not the children that are owed to it, and is then replaced as by
//! any other rule (`turnover`).

use std::time::Duration;

use crate::plan::{ORDERS_AHEAD, Plan};
use crate::{
    Action, Child, Elastic, Event, Exit, Generation, GiveUp, Life, Message, Mpm, Observed,
};

/// The most children started in one pass (`MAX_SPAWN_RATE`).
const MAX_SPAWN_RATE: u16 = 32;

/// From this rate on, the server seems busy.
const BUSY_RATE: u16 = 8;

/// Passes that grow after a graceful restart without growing faster.
const HOLD_OFF: u8 = 10;

/// How long the parent sleeps when nobody has died (`SCOREBOARD_MAINTENANCE_INTERVAL`).
const PASS: Duration = Duration::from_secs(1);

/// How long the parent sleeps after a fork has failed.
const FORK_FAILED: Duration = Duration::from_secs(10);

/// Children killed by signals in one second that are not replaced at once any more.
const TOO_MANY_KILLS: u32 = 3;

/// What Apache's parent keeps between two passes.
#[derive(Clone, Debug)]
pub(crate) struct Parent {
    stage: Stage,
    /// Until when the parent sleeps.
    wakes: Duration,
    /// `idle_spawn_rate`: children to start in the next pass that finds too few idle.
    idle_spawn_rate: u16,
    /// `hold_off_on_exponential_spawning`.
    hold_off: u8,
    /// `remaining_children_to_start`: owed since a start or a restart.
    owed: u16,
    max_clients_reported: bool,
    near_max_clients_reported: bool,
    sick_child_detected: bool,
    had_healthy_child: bool,
    successive_kills: u32,
    /// The scoreboard as the parent knows it.
    board: Vec<Score>,
    /// Deaths that the parent has not noticed.
    deaths: Vec<Death>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing has been started.
    Unborn,
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
    /// It has lived long enough, and another one takes its place: it is counted nowhere.
    Outgoing,
}

#[derive(Clone, Copy, Debug)]
struct Death {
    slot: u16,
    exit: Exit,
}

/// What a pass counts on the scoreboard.
#[derive(Default)]
struct Count {
    idle: u32,
    active: u32,
    total: u16,
}

impl Default for Parent {
    fn default() -> Self {
        Self {
            stage: Stage::Unborn,
            wakes: Duration::ZERO,
            idle_spawn_rate: 1,
            hold_off: 0,
            owed: 0,
            max_clients_reported: false,
            near_max_clients_reported: false,
            sick_child_detected: false,
            had_healthy_child: false,
            successive_kills: 0,
            board: Vec::new(),
            deaths: Vec::new(),
        }
    }
}

impl Parent {
    /// The main loop as far as it comes now: until the parent sleeps.
    ///
    /// Tells whether the pool has what it wants.
    pub(crate) fn look(&mut self, limits: &Elastic, seen: &Observed<'_>, plan: &mut Plan) -> bool {
        self.see(seen);
        self.hear(limits, seen, plan);
        if self.stage != Stage::Running {
            self.start(limits, plan);
        }
        if self.stage == Stage::Running && plan.due(self.wakes) {
            self.successive_kills = 0;
            if self.owed > 0 {
                // Few of these can be ready, so that a pass now would only start more.
                self.start_owed(limits, plan);
            } else {
                self.maintain(limits, seen, plan);
            }
            self.notice_deaths(limits, seen, plan);
            self.wakes = plan.now + PASS;
            plan.due(self.wakes);
        }
        self.is_complete(limits)
    }

    /// Whether no child is lacking that may be started.
    fn is_complete(&mut self, limits: &Elastic) -> bool {
        let alive = |score: &&Score| matches!(score, Score::Starting | Score::Ready { .. });
        let at_limit =
            self.board.iter().filter(alive).count() >= usize::from(limits.max_children());
        let calm = self.stage == Stage::Running
            && self.owed == 0
            && !self.board.contains(&Score::Starting);
        calm && (at_limit || self.count(limits).idle >= limits.min_spare())
    }

    /// What changes the main loop's course.
    fn hear(&mut self, limits: &Elastic, seen: &Observed<'_>, plan: &mut Plan) {
        for event in seen.events {
            match event {
                Event::ForkFailed => {
                    // A start that fails is not gone on with; what is lacking is the next passes' affair.
                    self.owed = 0;
                    self.stage = Stage::Running;
                    self.wakes = plan.now + FORK_FAILED;
                }
                Event::GracefulRestart => {
                    self.owed = limits
                        .start_servers()
                        .saturating_sub(of_new_generation(seen));
                    self.hold_off = HOLD_OFF;
                    self.had_healthy_child = false;
                    // The signal ends the sleep, and the new loop begins with the deaths.
                    self.notice_deaths(limits, seen, plan);
                    self.wakes = plan.now + PASS;
                }
                _ => {}
            }
        }
    }

    /// `startup_children`: at the start all at once, and no pass before the second after.
    fn start(&mut self, limits: &Elastic, plan: &mut Plan) {
        if self.stage == Stage::Unborn {
            self.owed = limits.start_servers();
            self.stage = Stage::StartingUp;
        }
        self.start_owed(limits, plan);
        if self.owed == 0 {
            self.stage = Stage::Running;
            self.wakes = plan.now + PASS;
        }
    }

    /// Takes over what the slots show, except where the parent sleeps through a death.
    fn see(&mut self, seen: &Observed<'_>) {
        self.board.resize(seen.children.len(), Score::Dead);
        for event in seen.events {
            if let Event::Reaped { slot, exit } = *event {
                self.deaths.push(Death { slot, exit });
            }
        }
        for (slot, (score, child)) in (0..).zip(self.board.iter_mut().zip(seen.children)) {
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
            if let Some(slot) = reader_of_the_pipe(seen.children) {
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
        // Without a mold, or with one that is behind, nothing is started, and so nothing was in vain: the rate stays.
        if plan.room(ORDERS_AHEAD) == 0 {
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
        for slot in free.into_iter().take(plan.room(ORDERS_AHEAD)) {
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

    /// Starting children count as idle: if they have not finished yet, more would only make it worse.
    fn count(&mut self, limits: &Elastic) -> Count {
        let threads = limits.threads_per_child();
        let mut count = Count::default();
        for score in &self.board {
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

    /// What the parent does about each child that has died since it looked last.
    fn notice_deaths(&mut self, limits: &Elastic, seen: &Observed<'_>, plan: &mut Plan) {
        for Death { slot, exit } in std::mem::take(&mut self.deaths) {
            let place = usize::from(slot);
            if let (Some(score), Some(child)) =
                (self.board.get_mut(place), seen.children.get(place))
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
            if exit != Exit::Sick && self.owed > 0 && place < self.board.len() {
                self.replace(slot, limits, plan);
            }
            if exit == Exit::Signal && limits.mpm() == Mpm::Worker {
                self.note_kill(limits, plan);
            }
        }
    }

    /// One for one, after a graceful restart.
    fn replace(&mut self, slot: u16, limits: &Elastic, plan: &mut Plan) {
        if plan.room(ORDERS_AHEAD) == 0 {
            return;
        }
        let own = (self.board[usize::from(slot)] == Score::Dead).then_some(slot);
        if let Some(slot) = own.or_else(|| self.free(limits).next()) {
            self.make_child(slot, plan);
            self.owed -= 1;
        }
    }

    /// Worker starts a child that was killed by a signal again at once, unless such deaths follow each other.
    fn note_kill(&mut self, limits: &Elastic, plan: &mut Plan) {
        self.successive_kills += 1;
        if self.successive_kills >= TOO_MANY_KILLS {
            if self.successive_kills % 10 == TOO_MANY_KILLS {
                plan.add(Action::Log(Message::KilledSuccessively));
            }
            return;
        }
        self.owed = self.owed.saturating_add(1);
        self.start_owed(limits, plan);
    }

    /// Starts what is owed in the lowest slots. What the mold has no room for stays owed, what no slot is free for not.
    fn start_owed(&mut self, limits: &Elastic, plan: &mut Plan) {
        while self.owed > 0 && plan.room(ORDERS_AHEAD) > 0 {
            let Some(slot) = self.free(limits).next() else {
                self.owed = 0;
                return;
            };
            self.make_child(slot, plan);
            self.owed -= 1;
        }
    }

    fn make_child(&mut self, slot: u16, plan: &mut Plan) {
        self.board[usize::from(slot)] = Score::Starting;
        plan.spawn(slot);
    }

    /// Slots in which a child may be started: there may be more than `MaxRequestWorkers` allows children.
    fn free(&self, limits: &Elastic) -> impl Iterator<Item = u16> {
        let taken = |score: &&Score| !matches!(score, Score::Dead | Score::Outgoing);
        let room = usize::from(limits.max_children())
            .saturating_sub(self.board.iter().filter(taken).count());
        (0..)
            .zip(&self.board)
            .filter(|(_, score)| **score == Score::Dead)
            .map(|(slot, _)| slot)
            .take(room)
    }
}

/// Children of the generation that has become the current one: it comes with its first.
fn of_new_generation(seen: &Observed<'_>) -> u16 {
    let is_there = |(child, life): &(&Child, &Life)| {
        life.is_current && matches!(child, Child::Starting { .. } | Child::Ready { .. })
    };
    let there = seen.children.iter().zip(seen.lives).filter(is_there);
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

/// Which child reads the byte in the pipe of death is nobody's choice in Apache: mostly an idle one, which is woken for it.
/// Here it is the one with the fewest requests, and of several the one in the highest slot.
fn reader_of_the_pipe(children: &[Child]) -> Option<u16> {
    let readers = (0..).zip(children).filter_map(|(slot, child)| {
        let busy = match *child {
            Child::Ready { busy, .. } => u32::from(busy),
            // It reads the pipe once it is ready, which may take longer than any request.
            Child::Starting { .. } => u32::MAX,
            _ => return None,
        };
        Some((busy, slot))
    });
    readers
        .min_by_key(|(busy, slot)| (*busy, std::cmp::Reverse(*slot)))
        .map(|(_, slot)| slot)
}
