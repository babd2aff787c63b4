//! The supervisor's loop: observe, decide, perform, wait.
//!
//! What is observed is in `site/messages.rs` (what processes say) and `site/reap.rs` (how they end), the end of it all in
//! `shutdown.rs`.

mod handover;
mod logging;
mod shutdown;
pub(crate) mod stage;
pub(crate) mod successor;

use std::ops::ControlFlow;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use exchange::{ChildId, ChildState, Exchange};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use pool::{Action, FrontAction};
use tracing::{error, info, warn};

use crate::control::Control;
use crate::listen::Listener;
use crate::process::exit::ExitReason;
use crate::process::signals::Signals;
use crate::server::logging::Logging;
use crate::server::stage::Stage;
use crate::server::successor::Successor;
use crate::site::changes::Changes;
use crate::site::cpu::CpuUsage;
use crate::site::reloads::Reloads;
use crate::site::slots::{Front, Mold, Place, Slot};
use crate::site::wait_time::WaitEstimator;
use crate::systemd::Notify;
use crate::{MoldBirth, Preload, Roles, Serving, Settings, sink};

/// How the supervisor's loop ended.
#[derive(Debug)]
pub(crate) enum End {
    /// The server has stopped.
    Stopped(ExitReason),
    /// This is not the supervisor any more but a process that it has just forked.
    Became(Newborn),
}

/// What a process that was just forked is to become.
#[derive(Debug)]
pub(crate) enum Newborn {
    /// A front.
    Front {
        /// Its line to the supervisor.
        link: OwnedFd,
        /// All listeners.
        listeners: Vec<Listener>,
        /// The children that are there, with the numbers of their processes.
        children: Vec<(ChildId, u32)>,
    },
    /// A mold.
    Mold {
        /// Its line to the supervisor.
        link: OwnedFd,
        /// What it is for.
        birth: MoldBirth,
    },
}

/// What the supervisor knows and holds.
pub(crate) struct Monitor<'a> {
    pub(crate) settings: Settings,
    pub(crate) roles: &'a dyn Roles,
    pub(crate) exchange: &'a Exchange,
    announce: &'a dyn Fn(&Serving),
    start: Instant,
    signals: Signals,
    pub(crate) notify: Notify,
    pub(crate) control: Option<Control>,
    pub(crate) listeners: Vec<Listener>,
    front_memory: pool::FrontMemory,
    /// A front has died, or could not be started, since the rule was asked last.
    pub(crate) front_died: bool,
    memory: pool::Memory,
    /// What has happened since the rules were asked last.
    pub(crate) events: Vec<pool::Event>,
    pub(crate) front: Option<Front>,
    /// The mold of the generation that serves.
    pub(crate) mold: Option<Mold>,
    /// The mold of a generation that has not taken over.
    pub(crate) next_mold: Option<Mold>,
    /// Molds that have been told to go.
    pub(crate) former_molds: Vec<Mold>,
    pub(crate) slots: Vec<Slot>,
    pub(crate) startup: Startup,
    pub(crate) stage: Stage,
    pub(crate) verdict: ExitReason,
    /// The generation that serves.
    pub(crate) generation: u32,
    pub(crate) reloads: Reloads,
    pub(crate) changes: Changes,
    pub(crate) logging: Logging,
    pub(crate) successor: Option<Successor>,
    /// How many children there are to be instead of what is configured.
    pub(crate) scaled: Option<u16>,
    line: WaitEstimator,
    /// When processes were last weighed, and what came of it.
    pub(crate) weighed: Duration,
    pub(crate) weight: Option<pool::Weight>,
    /// The most memory that a child of this generation has had of its own.
    pub(crate) heaviest: u64,
    /// How much of the processor those that serve take.
    pub(crate) computing: CpuUsage,
    /// Whether molds load the application.
    pub(crate) preload: bool,
    /// What the last mold has told about itself.
    pub(crate) about: String,
}

/// The time until the server serves, in which failures are final.
#[derive(Debug)]
pub(crate) struct Startup {
    /// The start has been announced.
    pub(crate) announced: bool,
    /// A child has been ready.
    pub(crate) child_was_ready: bool,
    /// The last step forward, from which the startup timeout counts.
    pub(crate) progress: Duration,
    /// Processes could not be forked.
    pub(crate) forks_failed: bool,
}

/// Something that the supervisor waits for.
#[derive(Clone, Copy, Debug)]
enum Source {
    Signals,
    Control,
    Front,
    Mold(Pid),
    Child(u16),
    Changes,
    Successor,
    LostLines,
}

impl<'a> Monitor<'a> {
    /// From here on this process is the supervisor.
    pub(crate) fn begin(
        settings: &'a Settings,
        listeners: Vec<Listener>,
        exchange: &'a Exchange,
        control: Option<Control>,
        announce: &'a dyn Fn(&Serving),
        roles: &'a dyn Roles,
    ) -> nix::Result<Self> {
        set_child_subreaper(true)?;
        let startup = Startup {
            announced: false,
            child_was_ready: false,
            progress: Duration::ZERO,
            forks_failed: false,
        };
        let slots = usize::from(exchange.geometry().children);
        let mut monitor = Self {
            settings: settings.clone(),
            roles,
            exchange,
            announce,
            start: Instant::now(),
            signals: Signals::take()?,
            control,
            notify: Notify::from_environment(|name| std::env::var_os(name)),
            listeners,
            front_memory: pool::FrontMemory::default(),
            front_died: false,
            memory: pool::Memory::default(),
            events: Vec::new(),
            front: None,
            mold: None,
            next_mold: None,
            former_molds: Vec::new(),
            slots: (0..slots)
                .map(|_| Slot {
                    life: 0,
                    place: Place::Vacant,
                })
                .collect(),
            startup,
            stage: Stage::Up,
            verdict: ExitReason::Stopped,
            generation: 1,
            reloads: Reloads::default(),
            changes: Changes::default(),
            logging: Logging::default(),
            successor: None,
            scaled: None,
            line: WaitEstimator::default(),
            weighed: Duration::ZERO,
            weight: None,
            heaviest: 0,
            computing: CpuUsage::default(),
            preload: settings.preload != Preload::Off,
            about: String::new(),
        };
        let now = monitor.now();
        monitor.changes.watch_anew(settings, now);
        Ok(monitor)
    }

    /// The loop. Everything that the supervisor holds is let go when it returns.
    pub(crate) fn watch(mut self) -> End {
        loop {
            self.logging.tend(self.now());
            if !self.stage.serves() {
                self.mute_children();
            }
            self.announce_when_serving();
            self.judge_startup();
            self.inform_front();
            let informed = self.inform();
            if self.stop_by_stages() {
                self.listeners.iter().for_each(Listener::remove_file);
                self.control.iter().for_each(Control::remove_file);
                info!("stopped");
                return End::Stopped(self.verdict);
            }
            self.judge_successor();
            self.dismiss_former_molds();
            self.kill_overdue_molds();
            self.reload_changed();
            if let ControlFlow::Break(newborn) = self.go_on_with_reload() {
                return End::Became(newborn);
            }
            self.tell_progress();
            let mut due = self.due().into_iter().chain(informed).min();
            if self.stage.keeps_pool() {
                match self.keep_front_and_pool() {
                    ControlFlow::Break(newborn) => return End::Became(newborn),
                    ControlFlow::Continue(again) => due = due.into_iter().chain(again).min(),
                }
            } else {
                self.events.clear();
                self.front_died = false;
            }
            // What has just failed is told to the rules at once: they know when to try again.
            let due = if self.events.is_empty() && !self.front_died {
                due
            } else {
                Some(Duration::ZERO)
            };
            for source in self.wait(due) {
                self.observe(source);
            }
            if self.control_due().is_some_and(|due| self.now() >= due) {
                self.serve_control();
            }
        }
    }

    /// When something is due that nobody tells of, beside what the rules wait for.
    fn due(&self) -> Option<Duration> {
        let due = [
            self.stage.due(),
            self.startup_due(),
            self.reload_due(),
            self.changes.due(),
            self.former_molds_due(),
            self.successor_due(),
            self.control_due(),
            self.logging.due(),
        ];
        due.into_iter().flatten().min()
    }

    /// The time since the start.
    pub(crate) fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn announce_when_serving(&mut self) {
        let serves = self
            .front
            .as_ref()
            .is_some_and(|front| front.serving.is_some());
        if self.startup.announced
            || !self.startup.child_was_ready
            || !serves
            || self.stage != Stage::Up
        {
            return;
        }
        self.startup.announced = true;
        // Clients are served from now on, and who serves them must not wait for us.
        sink::hurry(true);
        self.control.iter_mut().for_each(Control::take_place);
        let urls = self.listeners.iter().map(Listener::url).collect();
        (self.announce)(&Serving {
            about: self.about.clone(),
            urls,
            preload: self.preload,
        });
        self.notify.ready();
    }

    /// Sees to it that there is a front and that the pool is as the rules want it. Returns when to look again, and breaks in a
    /// process that was forked.
    fn keep_front_and_pool(&mut self) -> ControlFlow<Newborn, Option<Duration>> {
        let front = self.keep_front()?;
        let pool = self.decide_and_perform()?;
        ControlFlow::Continue(front.into_iter().chain(pool).min())
    }

    /// Starts a front when the rule says so.
    fn keep_front(&mut self) -> ControlFlow<Newborn, Option<Duration>> {
        let died = std::mem::take(&mut self.front_died);
        let seen = Front::observed(self.front.as_ref());
        let now = self.now();
        match pool::decide_front(&mut self.front_memory, now, seen, died) {
            // Until then its predecessor takes the connections: they would be lost should no child be ready.
            Some(FrontAction::Start)
                if self.settings.takes_over && !self.startup.child_was_ready => {}
            Some(FrontAction::Start) => self.start_front()?,
            Some(FrontAction::LookAgain { at }) => return ControlFlow::Continue(Some(at)),
            None => {}
        }
        ControlFlow::Continue(None)
    }

    /// Asks the rules and does what they say. Returns when to ask again, and breaks in a process that was forked.
    fn decide_and_perform(&mut self) -> ControlFlow<Newborn, Option<Duration>> {
        let events = std::mem::take(&mut self.events);
        let load = self.load();
        let weight = self.weigh();
        let computing = self.compute();
        let lives = self.lives(&load.busy);
        let demand = self.line.look(&load, self.now());
        let children: Vec<_> = self
            .slots
            .iter()
            .zip(&load.busy)
            .map(|(slot, busy)| match slot.child() {
                // It is none of the pool yet.
                Some(child) if self.is_trial(child.id) => pool::Child::Leaving,
                _ => slot.observed(*busy),
            })
            .collect();
        let seen = pool::Observed {
            now: self.now(),
            mold: match &self.mold {
                None if self.is_loading_next() || self.waits_for_change() => pool::Mold::Leaving,
                mold => Mold::observed(mold.as_ref()),
            },
            children: &children,
            lives: &lives,
            demand,
            weight,
            computing,
            events: &events,
        };
        let limits = pool::Limits {
            pool: self.pool(),
            recycling: self.settings.recycling,
            startup_timeout: self.settings.startup_timeout,
            shutdown_timeout: self.settings.shutdown_timeout,
        };
        let mut again = self.look_due(demand.waiting > 0);
        for action in pool::decide(&limits, &mut self.memory, &seen) {
            match action {
                Action::BuildMold => self.build_mold()?,
                Action::KillMold => self.kill_late_mold(),
                Action::Spawn { slot } => self.order_child(slot),
                Action::Kill { slot } => self.kill_late_child(slot),
                Action::Replace { slot, reason } => {
                    self.mark_outgoing(slot, reason);
                    // The rules see at once that its place is to be filled.
                    again = Some(Duration::ZERO);
                }
                Action::Retire { slot } => self.retire_child(slot),
                Action::LookAgain { at } => again = again.into_iter().chain([at]).min(),
                Action::Log(message) => self.say(message),
                Action::GiveUp(reason) => {
                    error!(%reason, "the server cannot go on");
                    self.fail(ExitReason::CannotStart);
                }
            }
        }
        ControlFlow::Continue(again)
    }

    /// Notes that a child is to be replaced.
    fn mark_outgoing(&mut self, slot: u16, reason: pool::Reason) {
        if let Some(child) = self.slots[usize::from(slot)].child_mut() {
            let pid = child.pid.map(Pid::as_raw);
            let reason = reason.to_string();
            info!(
                child = slot,
                r#gen = child.generation,
                pid,
                reason,
                "recycling"
            );
            child.outgoing = true;
        }
    }

    /// Says what the rules have to say.
    fn say(&self, message: pool::Message) {
        let text = message.to_string();
        match message {
            // The size of such a pool is what was asked for, and nothing to be raised.
            pool::Message::ReachedMaxRequestWorkers if self.settings.keeps_size => {}
            pool::Message::Busy {
                spawning,
                idle,
                total,
            } => info!(spawning, idle, total, "{text}"),
            pool::Message::ReachedMemoryBudget { budget, children } => {
                warn!(budget, children, "{text}");
            }
            pool::Message::ReachedMaxRequestWorkers
            | pool::Message::NearMaxRequestWorkers
            | pool::Message::ScoreboardFull
            | pool::Message::KilledSuccessively => warn!(children = self.size(), "{text}"),
        }
    }

    /// How busy the slots are, if anybody wants to know: that means to look at each place of the exchange.
    fn load(&self) -> exchange::Load {
        if matches!(self.pool(), pool::Pool::Fixed { .. })
            && self.settings.recycling.inactivity_timeout.is_zero()
        {
            return exchange::Load {
                busy: vec![0; self.slots.len()],
                ..exchange::Load::default()
            };
        }
        self.exchange.load()
    }

    /// Sleeps until something is to be heard or `due` has come.
    fn wait(&self, due: Option<Duration>) -> Vec<Source> {
        let (sources, mut fds): (Vec<_>, Vec<_>) = self.sources().into_iter().unzip();
        let timeout = due.map_or(PollTimeout::NONE, |due| {
            // Rounded up: a timeout that ends too early would end again and again.
            let millis = due
                .saturating_sub(self.now())
                .as_nanos()
                .div_ceil(1_000_000);
            PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX)
        });
        // The only failure left is an interruption, and then nothing is to be heard.
        if poll(&mut fds, timeout).is_err() {
            return Vec::new();
        }
        let heard = sources
            .into_iter()
            .zip(fds)
            .filter(|(_, fd)| fd.any().unwrap_or(true));
        heard.map(|(source, _)| source).collect()
    }

    fn sources(&self) -> Vec<(Source, PollFd<'_>)> {
        let mut sources = vec![(
            Source::Signals,
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
        )];
        if let Some(link) = self.front.as_ref().and_then(|front| front.link.as_ref()) {
            let owed = if self.owes_front() {
                PollFlags::POLLOUT
            } else {
                PollFlags::empty()
            };
            sources.push((
                Source::Front,
                PollFd::new(link.as_fd(), PollFlags::POLLIN | owed),
            ));
        }
        let molds = self.mold.iter().chain(&self.next_mold);
        for mold in molds.chain(&self.former_molds) {
            if let Some(link) = &mold.link {
                let fd = PollFd::new(link.as_fd(), PollFlags::POLLIN);
                sources.push((Source::Mold(mold.pid), fd));
            }
        }
        if let Some(watcher) = &self.changes.watcher {
            let fd = PollFd::new(watcher.as_fd(), PollFlags::POLLIN);
            sources.push((Source::Changes, fd));
        }
        if let Some(report) = self.successor_report() {
            let fd = PollFd::new(report, PollFlags::POLLIN);
            sources.push((Source::Successor, fd));
        }
        if let Some(lost) = sink::has_lost().filter(|_| self.logging.waits_for_lost_lines()) {
            sources.push((Source::LostLines, PollFd::new(lost, PollFlags::POLLIN)));
        }
        if let Some(control) = &self.control {
            let clients = control.sources(self.now()).into_iter();
            sources.extend(clients.map(|(fd, flags)| (Source::Control, PollFd::new(fd, flags))));
        }
        for child in self.slots.iter().filter_map(Slot::child) {
            if let Some(link) = &child.link {
                sources.push((
                    Source::Child(child.id.slot),
                    PollFd::new(link.as_fd(), PollFlags::POLLIN),
                ));
            }
        }
        sources
    }

    fn observe(&mut self, source: Source) {
        match source {
            Source::Control => self.serve_control(),
            Source::Front => self.receive_front(),
            Source::Mold(pid) => self.receive_mold(pid),
            Source::Child(slot) => self.receive_child(slot),
            Source::Changes => self.changes.hear(self.now()),
            Source::Successor => self.receive_successor(),
            // It is done before the next wait.
            Source::LostLines => {}
            Source::Signals => {
                while let Some(signal) = self.signals.next() {
                    match signal {
                        Signal::SIGCHLD => self.reap(),
                        Signal::SIGUSR1 => self.reopen_logs(),
                        Signal::SIGHUP => self.ask_for_reload("SIGHUP", None),
                        Signal::SIGUSR2 => self.upgrade(),
                        Signal::SIGTTIN => self.scale_up(),
                        Signal::SIGTTOU => self.scale_down(),
                        Signal::SIGWINCH => self.retire_all(),
                        signal => self.asked_to_stop(signal),
                    }
                }
            }
        }
    }

    /// The numbers of all slots.
    pub(crate) fn all_slots(&self) -> std::ops::Range<u16> {
        0..self.exchange.geometry().children
    }

    /// The first slot in which nobody is.
    pub(crate) fn vacant_slot(&self) -> Option<u16> {
        let is_vacant = |slot: &u16| matches!(self.slots[usize::from(*slot)].place, Place::Vacant);
        self.all_slots().find(is_vacant)
    }

    /// The slot of a child that still has the life it is spoken of with.
    pub(crate) fn slot_of(&mut self, id: ChildId) -> Option<&mut Slot> {
        self.slots
            .get_mut(usize::from(id.slot))
            .filter(|slot| slot.life == id.life)
    }

    /// A slot may have its next life.
    pub(crate) fn vacate(&mut self, slot: u16) {
        self.slots[usize::from(slot)].place = Place::Vacant;
        self.exchange
            .board()
            .child(slot)
            .set_state(ChildState::Vacant);
    }
}
