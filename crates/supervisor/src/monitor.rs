//! The supervisor's loop: observe, decide, perform, wait.
//!
//! What is observed is in `hearing` (what processes say) and `deaths` (how they end), the end of it all in `stopping`.

use std::ops::ControlFlow;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use exchange::{ChildId, ChildState, Exchange};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::Signal;
use pool::Action;
use tracing::{info, warn};

use crate::channel::Channel;
use crate::family::{Child, Drain, Front, Mold, Phase, Place, Slot, Word};
use crate::listeners::Listener;
use crate::message::{Order, Spawn};
use crate::signals::Signals;
use crate::stopping::Stage;
use crate::sys::fork::{Side, fork};
use crate::verdict::Verdict;
use crate::{MoldBirth, Preload, Serving, Settings};

/// How the supervisor's loop ended.
#[derive(Debug)]
pub(crate) enum End {
    /// The server has stopped.
    Stopped(Verdict),
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
    pub(crate) settings: &'a Settings,
    pub(crate) exchange: &'a Exchange,
    announce: &'a dyn Fn(&Serving),
    start: Instant,
    signals: Signals,
    pub(crate) listeners: Vec<Listener>,
    memory: pool::Memory,
    /// What has happened since the rules were asked last.
    pub(crate) events: Vec<pool::Event>,
    pub(crate) front: Option<Front>,
    pub(crate) mold: Option<Mold>,
    pub(crate) slots: Vec<Slot>,
    pub(crate) startup: Startup,
    pub(crate) stage: Stage,
    pub(crate) verdict: Verdict,
    /// The generation that molds belong to.
    generation: u32,
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
    Front,
    Mold,
    Child(u16),
}

impl<'a> Monitor<'a> {
    /// From here on this process is the supervisor.
    pub(crate) fn begin(
        settings: &'a Settings,
        listeners: Vec<Listener>,
        exchange: &'a Exchange,
        announce: &'a dyn Fn(&Serving),
    ) -> nix::Result<Self> {
        set_child_subreaper(true)?;
        let startup = Startup {
            announced: false,
            child_was_ready: false,
            progress: Duration::ZERO,
            forks_failed: false,
        };
        Ok(Self {
            settings,
            exchange,
            announce,
            start: Instant::now(),
            signals: Signals::take()?,
            listeners,
            memory: pool::Memory::default(),
            events: Vec::new(),
            front: None,
            mold: None,
            slots: (0..settings.processes)
                .map(|_| Slot {
                    life: 0,
                    place: Place::Vacant,
                })
                .collect(),
            startup,
            stage: Stage::Up,
            verdict: Verdict::Stopped,
            generation: 1,
            preload: settings.preload != Preload::Off,
            about: String::new(),
        })
    }

    /// The loop. Everything that the supervisor holds is let go when it returns.
    pub(crate) fn watch(mut self) -> End {
        loop {
            self.announce_when_serving();
            self.judge_startup();
            self.pass_words_on();
            if self.stop_by_stages() {
                self.listeners.iter().for_each(Listener::remove_file);
                info!("stopped");
                return End::Stopped(self.verdict);
            }
            let mut due = self.stage.due().into_iter().chain(self.startup_due()).min();
            if self.stage.keeps_pool() {
                match self.decide_and_perform() {
                    ControlFlow::Break(newborn) => return End::Became(newborn),
                    ControlFlow::Continue(again) => due = due.into_iter().chain(again).min(),
                }
            }
            // What has just failed is told to the rules at once: they know when to try again.
            let due = if self.events.is_empty() {
                due
            } else {
                Some(Duration::ZERO)
            };
            for source in self.wait(due) {
                self.observe(source);
            }
        }
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
        let urls = self.listeners.iter().map(Listener::url).collect();
        (self.announce)(&Serving {
            about: self.about.clone(),
            urls,
            preload: self.preload,
        });
    }

    /// Asks the rules and does what they say. Returns when to ask again, and breaks in a process that was forked.
    fn decide_and_perform(&mut self) -> ControlFlow<Newborn, Option<Duration>> {
        let events = std::mem::take(&mut self.events);
        let children: Vec<_> = self.slots.iter().map(Slot::observed).collect();
        let seen = pool::Observed {
            now: self.now(),
            front: Front::observed(self.front.as_ref()),
            mold: Mold::observed(self.mold.as_ref()),
            children: &children,
            demand: pool::Demand::default(),
            weight: None,
            events: &events,
        };
        let limits = pool::Limits {
            pool: pool::Pool::Fixed {
                processes: self.settings.processes,
            },
            startup_timeout: self.settings.startup_timeout,
        };
        let mut again = None;
        for action in pool::decide(&limits, &mut self.memory, &seen) {
            match action {
                Action::StartFront => self.start_front()?,
                Action::BuildMold => self.build_mold()?,
                Action::KillMold => self.kill_late_mold(),
                Action::Spawn { slot } => self.order_child(slot),
                Action::Kill { slot } => self.kill_late_child(slot),
                Action::LookAgain { at } => again = Some(at),
                // A pool of a fixed size does none of these.
                Action::Retire { .. } | Action::Log(_) | Action::GiveUp(_) => {}
            }
        }
        ControlFlow::Continue(again)
    }

    fn start_front(&mut self) -> ControlFlow<Newborn> {
        let born = Channel::pair().and_then(|ends| Ok((ends, fork()?)));
        match born {
            Ok(((_, link), Side::Child)) => ControlFlow::Break(Newborn::Front {
                link,
                listeners: std::mem::take(&mut self.listeners),
            }),
            Ok(((link, _), Side::Parent(pid))) => {
                info!(pid = pid.as_raw(), "front started");
                self.front = Some(Front {
                    pid,
                    link: Some(link),
                    serving: None,
                    drain: Drain::Unasked,
                    reopen: false,
                });
                for slot in &mut self.slots {
                    if let Place::Gone(_, word) = &mut slot.place {
                        *word = Word::Inherited;
                    }
                }
                ControlFlow::Continue(())
            }
            Err(errno) => {
                warn!(%errno, "front cannot be forked");
                self.startup.forks_failed = true;
                self.events.push(pool::Event::FrontDied);
                ControlFlow::Continue(())
            }
        }
    }

    fn build_mold(&mut self) -> ControlFlow<Newborn> {
        let generation = self.generation;
        let birth = MoldBirth {
            generation,
            preload: self.preload,
        };
        let born = Channel::pair().and_then(|ends| Ok((ends, fork()?)));
        match born {
            Ok(((_, link), Side::Child)) => ControlFlow::Break(Newborn::Mold { link, birth }),
            Ok(((link, _), Side::Parent(pid))) => {
                info!(r#gen = generation, pid = pid.as_raw(), "mold loading");
                let since = self.now();
                let link = Some(link);
                self.mold = Some(Mold {
                    pid,
                    generation,
                    link,
                    since,
                    ready: None,
                    leaving: false,
                });
                self.startup.progress = since;
                ControlFlow::Continue(())
            }
            Err(errno) => {
                warn!(r#gen = generation, %errno, "mold cannot be forked");
                self.startup.forks_failed = true;
                self.events.push(pool::Event::MoldDied);
                ControlFlow::Continue(())
            }
        }
    }

    fn kill_late_mold(&mut self) {
        if let Some(mold) = &mut self.mold {
            warn!(
                r#gen = mold.generation,
                pid = mold.pid.as_raw(),
                "mold takes longer than the startup timeout"
            );
            mold.kill();
            // It is not gone by its own will, and so another one waits as after a death.
            self.events.push(pool::Event::MoldDied);
        }
    }

    fn kill_late_child(&mut self, slot: u16) {
        if let Some(child) = self.slots[usize::from(slot)].child_mut() {
            let pid = child.pid.map(nix::unistd::Pid::as_raw);
            warn!(
                child = slot,
                r#gen = child.generation,
                pid,
                "takes longer than the startup timeout"
            );
            child.kill();
            self.events.push(pool::Event::DiedStarting);
        }
    }

    /// Tells the mold to fork a child. Its line is made before: the end of that is how we hear that it is gone, or was
    /// never born.
    fn order_child(&mut self, slot: u16) {
        let since = self.now();
        let (Some(mold), place) = (&self.mold, &mut self.slots[usize::from(slot)]) else {
            return;
        };
        let Some(to_mold) = &mold.link else { return };
        let id = ChildId {
            slot,
            life: place.life.wrapping_add(1),
        };
        let generation = mold.generation;
        let ordered = Channel::pair().and_then(|(link, channel)| {
            to_mold.say_now(Order::Spawn(Spawn {
                child: id,
                generation,
                channel,
            }))?;
            Ok(link)
        });
        match ordered {
            Ok(link) => {
                self.exchange.board().child(slot).begin(id.life, generation);
                let (link, phase) = (Some(link), Phase::Ordered);
                place.life = id.life;
                place.place = Place::Taken(Child {
                    id,
                    generation,
                    pid: None,
                    link,
                    since,
                    phase,
                    leaving: false,
                });
            }
            // The mold has just died; that will be heard.
            Err(Errno::EPIPE) => {}
            Err(errno) => {
                warn!(child = slot, r#gen = generation, %errno, "cannot be ordered");
                self.events.push(pool::Event::ForkFailed);
            }
        }
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
        if let Some(link) = self.mold.as_ref().and_then(|mold| mold.link.as_ref()) {
            sources.push((Source::Mold, PollFd::new(link.as_fd(), PollFlags::POLLIN)));
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
            Source::Front => self.hear_front(),
            Source::Mold => self.hear_mold(),
            Source::Child(slot) => self.hear_child(slot),
            Source::Signals => {
                while let Some(signal) = self.signals.next() {
                    match signal {
                        Signal::SIGCHLD => self.reap(),
                        Signal::SIGUSR1 => self.reopen_logs(),
                        signal => self.asked_to_stop(signal),
                    }
                }
            }
        }
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
