//! A site: one application with its molds and children, its generations and its rules.
//!
//! A site does not know its server. It is given the server's state ([`ServerState`]) and the process of the front; its
//! requests to the server are [`Effect`]s, which the server takes after each call.

pub(crate) mod changes;
pub(crate) mod cpu;
mod front;
mod keep_pool;
mod messages;
mod observe;
mod progress;
mod reap;
mod reload;
pub(crate) mod reloads;
mod retire;
mod retry;
mod scaling;
pub(crate) mod slots;
mod start;
pub(crate) mod status;
mod stop;
pub(crate) mod wait_time;
pub(crate) mod watch;

use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use exchange::{ChildId, ChildState, Exchange};
use nix::unistd::Pid;
use pool::{Event, Memory, Weight};

use crate::config::{Preload, Settings, SiteId};
use crate::process::exit::ExitReason;
use crate::roles::{MoldNewborn, Roles};
use crate::site::changes::Changes;
use crate::site::cpu::CpuUsage;
use crate::site::reloads::Reloads;
use crate::site::slots::{Molds, Place, Slot};
use crate::site::wait_time::WaitEstimator;

/// A site.
pub(crate) struct Site<'a> {
    id: SiteId,
    start: Instant,
    settings: Settings,
    roles: &'a dyn Roles,
    exchange: &'a Exchange,
    server_state: ServerState,
    effects: Vec<Effect>,
    slots: Vec<Slot>,
    molds: Molds,
    startup: Startup,
    /// The generation that serves.
    generation: u32,
    /// Whether molds load the application.
    preload: bool,
    /// What the last mold has reported about itself.
    about: String,
    reloads: Reloads,
    changes: Changes,
    rules: Memory,
    /// Events since `pool` was last asked.
    events: Vec<Event>,
    /// The number of children that was set by a command and overrides the configuration.
    scaled: Option<u16>,
    observed: Observations,
}

/// The state of the server, as far as sites need it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ServerState {
    /// Serving has not been announced.
    Starting,
    /// It serves.
    Serving,
    /// It is stopping: nothing new is started.
    Stopping,
}

/// A request of a site to the server.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Report the beginning of a reload to the service manager.
    Reloading,
    /// Report the end of a reload, whatever its result.
    Reloaded,
    /// These settings are configured from now on.
    Configured(Box<Settings>),
    /// The server cannot continue, for this reason. The site has killed its own processes.
    Fail(ExitReason),
}

/// A source of events of a site.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Readable {
    /// The channel of a mold.
    Mold(Pid),
    /// The channel of the child in this slot.
    Child(u16),
    /// Changes of files.
    Changes,
}

/// The time until a site serves, in which failures are final.
#[derive(Debug)]
struct Startup {
    /// A child has been ready.
    child_was_ready: bool,
    /// The last progress, from which the startup timeout counts.
    progress: Duration,
    /// Processes could not be forked.
    forks_failed: bool,
}

/// Measurements, with their times.
#[derive(Debug, Default)]
struct Observations {
    waits: WaitEstimator,
    /// When memory was last measured, and the result.
    measured: Duration,
    weight: Option<Weight>,
    /// The largest private memory of a child of this generation, in bytes.
    largest_private: u64,
    /// The CPU usage of the serving processes.
    cpu: CpuUsage,
}

impl<'a> Site<'a> {
    /// A site with empty slots. Its time counts from `start`.
    pub(crate) fn new(
        id: SiteId,
        settings: &Settings,
        exchange: &'a Exchange,
        roles: &'a dyn Roles,
        start: Instant,
    ) -> Self {
        let slots = (0..exchange.geometry().children).map(|_| Slot::default());
        let mut site = Self {
            id,
            start,
            settings: settings.clone(),
            roles,
            exchange,
            server_state: ServerState::Starting,
            effects: Vec::new(),
            slots: slots.collect(),
            molds: Molds::default(),
            startup: Startup {
                child_was_ready: false,
                progress: Duration::ZERO,
                forks_failed: false,
            },
            generation: 1,
            preload: settings.preload != Preload::Off,
            about: String::new(),
            reloads: Reloads::default(),
            changes: Changes::default(),
            rules: Memory::default(),
            events: Vec::new(),
            scaled: None,
            observed: Observations::default(),
        };
        let now = site.now();
        site.changes.watch_anew(settings, now);
        site
    }

    /// The server serves, or is stopping.
    pub(crate) fn set_server_state(&mut self, server_state: ServerState) {
        self.server_state = server_state;
    }

    /// Takes the requests to the server.
    pub(crate) fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// What the last mold has reported about itself, and whether it loads the application.
    pub(crate) fn about(&self) -> (&str, bool) {
        (&self.about, self.preload)
    }

    /// A child has been ready.
    pub(crate) fn has_served(&self) -> bool {
        self.startup.child_was_ready
    }

    /// Processes could not be forked.
    pub(crate) fn has_failed_to_fork(&self) -> bool {
        self.startup.forks_failed
    }

    /// When the startup times out.
    pub(crate) fn startup_due(&self) -> Option<Duration> {
        let waits = self.waits_for_change();
        (!waits).then(|| self.startup.progress + self.settings.startup_timeout)
    }

    /// Continues operations that take time. Breaks in a forked process.
    pub(crate) fn go_on(&mut self) -> ControlFlow<MoldNewborn> {
        self.dismiss_former_molds();
        self.kill_overdue_molds();
        self.reload_changed();
        self.go_on_with_reload()?;
        self.report_progress();
        ControlFlow::Continue(())
    }

    /// When something without an event source is due, besides what `pool` waits for.
    pub(crate) fn due(&self) -> Option<Duration> {
        let due = [
            self.reload_due(),
            self.changes.due(),
            self.former_molds_due(),
        ];
        due.into_iter().flatten().min()
    }

    /// There are events that `pool` must be told at once: it decides when to retry.
    pub(crate) fn needs_rules(&self) -> bool {
        !self.events.is_empty()
    }

    /// Drops the events, when `pool` is not asked any more.
    pub(crate) fn drop_events(&mut self) {
        self.events.clear();
    }

    /// The sources of events.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (Readable, BorrowedFd<'_>)> {
        let molds = self.molds.iter().filter_map(|mold| {
            let link = mold.link.as_ref()?;
            Some((Readable::Mold(mold.pid), link.as_fd()))
        });
        let watcher = self.changes.watcher.as_ref();
        let changes = watcher.map(|watcher| (Readable::Changes, watcher.as_fd()));
        let children = self.slots.iter().filter_map(Slot::child);
        let children = children.filter_map(|child| {
            let link = child.link.as_ref()?;
            Some((Readable::Child(child.id.slot), link.as_fd()))
        });
        molds.chain(changes).chain(children)
    }

    /// Receives from a source. `strangers`: processes of the server that do not belong to this site.
    pub(crate) fn receive(&mut self, line: Readable, strangers: &[Pid]) {
        match line {
            Readable::Mold(pid) => self.receive_mold(pid),
            Readable::Child(slot) => self.receive_child(slot, strangers),
            Readable::Changes => {
                let now = self.now();
                self.changes.receive(now);
            }
        }
    }

    /// The process ids of this site.
    pub(crate) fn processes(&self) -> impl Iterator<Item = Pid> {
        let molds = self.molds.iter().map(|mold| mold.pid);
        let children = self.slots.iter().filter_map(Slot::child);
        molds.chain(children.filter_map(|child| child.pid))
    }

    /// The time since the start.
    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// The server cannot continue. A requested stop keeps its exit reason, whatever fails meanwhile.
    fn fail(&mut self, reason: ExitReason) {
        if self.server_state != ServerState::Stopping {
            self.server_state = ServerState::Stopping;
            self.kill_all();
            self.effects.push(Effect::Fail(reason));
        }
    }

    /// The numbers of all slots.
    fn all_slots(&self) -> std::ops::Range<u16> {
        0..self.exchange.geometry().children
    }

    /// The first vacant slot.
    fn vacant_slot(&self) -> Option<u16> {
        let is_vacant = |slot: &u16| matches!(self.slots[usize::from(*slot)].place, Place::Vacant);
        self.all_slots().find(is_vacant)
    }

    /// The slot of this child, if its incarnation is still the current one.
    fn slot_of(&mut self, id: ChildId) -> Option<&mut Slot> {
        self.slots
            .get_mut(usize::from(id.slot))
            .filter(|slot| slot.incarnation == id.incarnation)
    }

    /// Makes a slot available for its next incarnation.
    fn vacate(&mut self, slot: u16) {
        self.slots[usize::from(slot)].place = Place::Vacant;
        self.exchange
            .scoreboard()
            .child(slot)
            .set_state(ChildState::Vacant);
    }
}
