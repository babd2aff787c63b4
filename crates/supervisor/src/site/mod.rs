//! What belongs to one application: its molds and children, its generations, and the rules that it follows.
//!
//! A site knows nothing of the server that it is part of. It is told how the server is ([`Course`]) and which process is the
//! front, and what it has to say to the server are [`Effect`]s, which the server takes after each call.

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
    course: Course,
    effects: Vec<Effect>,
    slots: Vec<Slot>,
    molds: Molds,
    startup: Startup,
    /// The generation that serves.
    generation: u32,
    /// Whether molds load the application.
    preload: bool,
    /// What the last mold has told about itself.
    about: String,
    reloads: Reloads,
    changes: Changes,
    rules: Memory,
    /// What has happened since the rules were asked last.
    events: Vec<Event>,
    /// How many children there are to be instead of what is configured.
    scaled: Option<u16>,
    observed: Observations,
}

/// How the server is, as far as a site has to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Course {
    /// It has not been announced that it serves.
    Starting,
    /// It serves.
    Serving,
    /// It is stopping: what has not begun does not begin any more.
    Stopping,
}

/// What a site has the server do.
#[derive(Debug)]
pub(crate) enum Effect {
    /// The service manager is to know that a reload has begun.
    Reloading,
    /// And that it has ended, whatever came of it.
    Reloaded,
    /// This is configured from now on.
    Configured(Box<Settings>),
    /// The server cannot go on, for this reason. The site has killed its own processes.
    Fail(ExitReason),
}

/// A line of a site's that there may be something to receive on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Readable {
    /// That of a mold.
    Mold(Pid),
    /// That of the child in this slot.
    Child(u16),
    /// Changes of files.
    Changes,
}

/// The time until a site serves, in which failures are final.
#[derive(Debug)]
struct Startup {
    /// A child has been ready.
    child_was_ready: bool,
    /// The last step forward, from which the startup timeout counts.
    progress: Duration,
    /// Processes could not be forked.
    forks_failed: bool,
}

/// What was measured, and when.
#[derive(Debug, Default)]
struct Observations {
    waits: WaitEstimator,
    /// When processes were last weighed, and what came of it.
    weighed: Duration,
    weight: Option<Weight>,
    /// The most memory that a child of this generation has had of its own.
    heaviest: u64,
    /// How much of the processor those that serve take.
    cpu: CpuUsage,
}

impl<'a> Site<'a> {
    /// A site with nothing in its slots. Its time counts from `start`.
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
            course: Course::Starting,
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

    /// The server has come to serve, or is stopping.
    pub(crate) fn set_course(&mut self, course: Course) {
        self.course = course;
    }

    /// What the server is to do.
    pub(crate) fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// What the last mold has told about itself, and whether it loads the application.
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

    /// When it takes too long to start.
    pub(crate) fn startup_due(&self) -> Option<Duration> {
        let waits = self.waits_for_change();
        (!waits).then(|| self.startup.progress + self.settings.startup_timeout)
    }

    /// Goes on with what takes its time. Breaks in a process that was forked.
    pub(crate) fn go_on(&mut self) -> ControlFlow<MoldNewborn> {
        self.dismiss_former_molds();
        self.kill_overdue_molds();
        self.reload_changed();
        self.go_on_with_reload()?;
        self.tell_progress();
        ControlFlow::Continue(())
    }

    /// When something is due that nobody tells of, beside what the rules wait for.
    pub(crate) fn due(&self) -> Option<Duration> {
        let due = [
            self.reload_due(),
            self.changes.due(),
            self.former_molds_due(),
        ];
        due.into_iter().flatten().min()
    }

    /// Something has happened that the rules are to be told of at once: they know when to try again.
    pub(crate) fn has_news(&self) -> bool {
        !self.events.is_empty()
    }

    /// The rules are not asked any more.
    pub(crate) fn forget_news(&mut self) {
        self.events.clear();
    }

    /// What there may be something to receive on.
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

    /// Receives what has come on a line. `strangers`: processes of the server that are none of this site's.
    pub(crate) fn receive(&mut self, line: Readable, strangers: &[Pid]) {
        match line {
            Readable::Mold(pid) => self.receive_mold(pid),
            Readable::Child(slot) => self.receive_child(slot, strangers),
            Readable::Changes => {
                let now = self.now();
                self.changes.hear(now);
            }
        }
    }

    /// The processes of this site that have a number.
    pub(crate) fn processes(&self) -> impl Iterator<Item = Pid> {
        let molds = self.molds.iter().map(|mold| mold.pid);
        let children = self.slots.iter().filter_map(Slot::child);
        molds.chain(children.filter_map(|child| child.pid))
    }

    /// The time since the start.
    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// The server cannot go on. A stop that was asked for stays one, whatever breaks on the way.
    fn fail(&mut self, reason: ExitReason) {
        if self.course != Course::Stopping {
            self.course = Course::Stopping;
            self.kill_all();
            self.effects.push(Effect::Fail(reason));
        }
    }

    /// The numbers of all slots.
    fn all_slots(&self) -> std::ops::Range<u16> {
        0..self.exchange.geometry().children
    }

    /// The first slot in which nobody is.
    fn vacant_slot(&self) -> Option<u16> {
        let is_vacant = |slot: &u16| matches!(self.slots[usize::from(*slot)].place, Place::Vacant);
        self.all_slots().find(is_vacant)
    }

    /// The slot of a child that still has the life it is spoken of with.
    fn slot_of(&mut self, id: ChildId) -> Option<&mut Slot> {
        self.slots
            .get_mut(usize::from(id.slot))
            .filter(|slot| slot.incarnation == id.incarnation)
    }

    /// A slot may have its next life.
    fn vacate(&mut self, slot: u16) {
        self.slots[usize::from(slot)].place = Place::Vacant;
        self.exchange
            .scoreboard()
            .child(slot)
            .set_state(ChildState::Vacant);
    }
}
