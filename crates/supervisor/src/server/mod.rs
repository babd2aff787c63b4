//! The server: everything that exists once, whatever the number of sites. Its loop: observe, decide, perform, wait.
//!
//! The front is managed in `keep_front.rs`, ended processes in `reap.rs`, the end of the server in `shutdown.rs`.
//! What belongs to an application is in [`Site`].

mod commands;
mod front;
mod handover;
mod keep_front;
mod logging;
mod reap;
mod shutdown;
pub(crate) mod stage;
pub(crate) mod successor;

use std::ops::ControlFlow;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use exchange::{ChildId, Exchange};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::Signal;
use pool::FrontMemory;
use tracing::info;

use crate::config::{Settings, SiteId};
use crate::control::Control;
use crate::listen::Listener;
use crate::process::exit::ExitReason;
use crate::process::signals::Signals;
use crate::roles::{MoldNewborn, Roles, Serving};
use crate::server::front::Front;
use crate::server::logging::Logging;
use crate::server::stage::Stage;
use crate::server::successor::Successor;
use crate::sink;
use crate::site::{Effect, Readable, ServerState, Site};
use crate::systemd::Notify;

/// How the supervisor's loop ended.
#[derive(Debug)]
pub(crate) enum End {
    /// The server has stopped.
    Stopped(ExitReason),
    /// This process is no longer the supervisor, but one that was just forked.
    Became(Newborn),
}

/// The role of a process that was just forked.
#[derive(Debug)]
pub(crate) enum Newborn {
    /// A front.
    Front {
        /// Its channel to the supervisor.
        link: OwnedFd,
        /// All listeners.
        listeners: Vec<Listener>,
        /// The running children, with their process ids.
        children: Vec<(ChildId, u32)>,
    },
    /// A mold.
    Mold(MoldNewborn),
}

/// The state of the server.
pub(crate) struct Server<'a> {
    settings: Settings,
    announce: &'a dyn Fn(&Serving),
    start: Instant,
    signals: Signals,
    systemd: Notify,
    control: Option<Control>,
    listeners: Vec<Listener>,
    front: Option<Front>,
    front_memory: FrontMemory,
    /// A front has died, or could not be started, since `pool` was last asked.
    front_died: bool,
    /// A front could not be forked.
    forks_failed: bool,
    /// The start of serving has been announced.
    announced: bool,
    stage: Stage,
    /// The exit reason of the server.
    reason: ExitReason,
    logging: Logging,
    successor: Option<Successor>,
    sites: Vec<Site<'a>>,
}

/// An event source of the supervisor.
#[derive(Clone, Copy, Debug)]
enum Source {
    Signals,
    Control,
    Front,
    Successor,
    LostLines,
    /// A channel of the site with this index.
    Site(usize, Readable),
}

impl<'a> Server<'a> {
    /// Makes this process the supervisor.
    pub(crate) fn begin(
        settings: &Settings,
        listeners: Vec<Listener>,
        exchange: &'a Exchange,
        control: Option<Control>,
        announce: &'a dyn Fn(&Serving),
        roles: &'a dyn Roles,
    ) -> nix::Result<Self> {
        set_child_subreaper(true)?;
        let start = Instant::now();
        let signals = Signals::take()?;
        let site = Site::new(SiteId::default(), settings, exchange, roles, start);
        Ok(Self {
            settings: settings.clone(),
            announce,
            start,
            signals,
            systemd: Notify::from_environment(|name| std::env::var_os(name)),
            control,
            listeners,
            front: None,
            front_memory: FrontMemory::default(),
            front_died: false,
            forks_failed: false,
            announced: false,
            stage: Stage::Up,
            reason: ExitReason::Stopped,
            logging: Logging::default(),
            successor: None,
            sites: vec![site],
        })
    }

    /// The loop. All resources of the supervisor are released when it returns.
    pub(crate) fn run(mut self) -> End {
        loop {
            self.logging.tend(self.now());
            if !self.stage.serves() {
                self.mute_children();
            }
            self.announce_when_serving();
            self.judge_startup();
            self.inform_front();
            let informed = self.inform_manager();
            if self.advance_stages() {
                self.listeners.iter().for_each(Listener::remove_file);
                self.control.iter().for_each(Control::remove_file);
                info!("stopped");
                // Clients that wait for the end must see their connections close only when this process has ended:
                // a service manager may kill what is left as soon as it sees them close. So the kernel closes them.
                std::mem::forget(self.control.take());
                return End::Stopped(self.reason);
            }
            self.judge_successor();
            if let ControlFlow::Break(newborn) = self.continue_sites() {
                return End::Became(newborn);
            }
            let mut due = self.due().into_iter().chain(informed).min();
            if self.stage.keeps_pool() {
                match self.keep_front_and_pools() {
                    ControlFlow::Break(newborn) => return End::Became(newborn),
                    ControlFlow::Continue(again) => due = due.into_iter().chain(again).min(),
                }
            } else {
                self.sites.iter_mut().for_each(Site::drop_events);
                self.front_died = false;
            }
            // A failure is reported to the rules at once: they decide when to retry.
            if self.front_died || self.sites.iter().any(Site::needs_rules) {
                due = Some(Duration::ZERO);
            }
            for source in self.wait(due) {
                self.observe(source);
            }
            if self.control_due().is_some_and(|due| self.now() >= due) {
                self.serve_control();
            }
        }
    }

    /// When something without an event source is due, besides what `pool` waits for.
    fn due(&self) -> Option<Duration> {
        let due = [
            self.stage.due(),
            self.startup_due(),
            self.successor_due(),
            self.control_due(),
            self.logging.due(),
        ];
        let sites = self.sites.iter().filter_map(Site::due);
        due.into_iter().flatten().chain(sites).min()
    }

    /// The time since the start.
    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn announce_when_serving(&mut self) {
        let serves = self
            .front
            .as_ref()
            .is_some_and(|front| front.serving.is_some());
        if self.announced
            || !self.sites.iter().all(Site::has_served)
            || !serves
            || self.stage != Stage::Up
        {
            return;
        }
        self.announced = true;
        for site in &mut self.sites {
            site.set_server_state(ServerState::Serving);
        }
        // The server serves from now on, so its log must not block.
        sink::set_hurried(true);
        self.control.iter_mut().for_each(Control::take_place);
        let urls = self.listeners.iter().map(Listener::url).collect();
        // What a mold reports about itself, its Python, is the same for all sites.
        let (about, preload) = self.sites.first().map_or(("", false), Site::about);
        (self.announce)(&Serving {
            about: about.to_owned(),
            urls,
            preload,
        });
        self.systemd.ready();
    }

    /// Continues the sites' operations that take time. Breaks in a forked process.
    fn continue_sites(&mut self) -> ControlFlow<Newborn> {
        for index in 0..self.sites.len() {
            self.sites[index].go_on().map_break(Newborn::Mold)?;
            self.perform_effects();
        }
        ControlFlow::Continue(())
    }

    /// Keeps the front running and the pools at their sizes. Returns when to check again, and breaks in a forked
    /// process.
    fn keep_front_and_pools(&mut self) -> ControlFlow<Newborn, Option<Duration>> {
        let mut again = self.keep_front()?;
        for index in 0..self.sites.len() {
            let front = self.front.as_ref().map(|front| front.pid);
            let site = self.sites[index].keep_pool(front);
            let site = site.map_break(Newborn::Mold)?;
            again = again.into_iter().chain(site).min();
            self.perform_effects();
        }
        ControlFlow::Continue(again)
    }

    /// Performs the effects that the sites have requested.
    fn perform_effects(&mut self) {
        let effects: Vec<_> = self.sites.iter_mut().flat_map(Site::take_effects).collect();
        for effect in effects {
            match effect {
                Effect::Reloading => self.systemd.reloading(),
                Effect::Reloaded => self.systemd.ready(),
                Effect::Configured(settings) => self.settings = *settings,
                Effect::Fail(reason) => self.fail(reason),
            }
        }
    }

    /// Waits for an event or until `due`.
    fn wait(&self, due: Option<Duration>) -> Vec<Source> {
        let (sources, mut fds): (Vec<_>, Vec<_>) = self.sources().into_iter().unzip();
        let timeout = due.map_or(PollTimeout::NONE, |due| {
            // Rounded up: a timeout that ends too early would be repeated.
            let millis = due
                .saturating_sub(self.now())
                .as_nanos()
                .div_ceil(1_000_000);
            PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX)
        });
        // `poll` fails only when interrupted; then there is no event.
        if poll(&mut fds, timeout).is_err() {
            return Vec::new();
        }
        let ready = sources
            .into_iter()
            .zip(fds)
            .filter(|(_, fd)| fd.any().unwrap_or(true));
        ready.map(|(source, _)| source).collect()
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
        for (index, site) in self.sites.iter().enumerate() {
            let lines = site.lines().map(|(line, fd)| {
                let source = Source::Site(index, line);
                (source, PollFd::new(fd, PollFlags::POLLIN))
            });
            sources.extend(lines);
        }
        sources
    }

    fn observe(&mut self, source: Source) {
        match source {
            Source::Control => self.serve_control(),
            Source::Front => self.receive_front(),
            Source::Successor => self.receive_successor(),
            // Handled before the next wait.
            Source::LostLines => {}
            Source::Site(index, line) => {
                let strangers = self.strangers_to(index);
                self.sites[index].receive(line, &strangers);
            }
            Source::Signals => {
                while let Some(signal) = self.signals.next() {
                    self.handle_signal(signal);
                    self.perform_effects();
                }
            }
        }
        self.perform_effects();
    }

    fn handle_signal(&mut self, signal: Signal) {
        let sites = self.sites.iter_mut();
        match signal {
            Signal::SIGCHLD => self.reap(),
            Signal::SIGUSR1 => self.reopen_logs(),
            Signal::SIGHUP => sites.for_each(|site| site.ask_for_reload("SIGHUP", None)),
            Signal::SIGUSR2 => self.upgrade(),
            Signal::SIGTTIN => sites.for_each(Site::scale_up),
            Signal::SIGTTOU => sites.for_each(Site::scale_down),
            Signal::SIGWINCH => sites.for_each(Site::retire_all),
            signal => self.handle_stop_signal(signal),
        }
    }
}
