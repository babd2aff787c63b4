//! The server: what there is once, whatever sites it has. Its loop: observe, decide, perform, wait.
//!
//! The front is kept in `keep_front.rs`, how processes end in `reap.rs`, the end of it all in `shutdown.rs`. What belongs to an application
//! is a [`Site`]'s.

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
use crate::site::{Course, Effect, Readable, Site};
use crate::systemd::Notify;

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
    Mold(MoldNewborn),
}

/// What the supervisor knows and holds.
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
    /// A front has died, or could not be started, since the rule was asked last.
    front_died: bool,
    /// A front could not be forked.
    forks_failed: bool,
    /// That the server serves has been announced.
    announced: bool,
    stage: Stage,
    /// What the server will have ended for.
    reason: ExitReason,
    logging: Logging,
    successor: Option<Successor>,
    sites: Vec<Site<'a>>,
}

/// Something that the supervisor waits for.
#[derive(Clone, Copy, Debug)]
enum Source {
    Signals,
    Control,
    Front,
    Successor,
    LostLines,
    /// A line of the site with this index.
    Site(usize, Readable),
}

impl<'a> Server<'a> {
    /// From here on this process is the supervisor.
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

    /// The loop. Everything that the supervisor holds is let go when it returns.
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
            if self.stop_by_stages() {
                self.listeners.iter().for_each(Listener::remove_file);
                self.control.iter().for_each(Control::remove_file);
                info!("stopped");
                // The kernel closes the connections of those who wait for the end when this process has ended, and not before:
                // a service manager may kill what is left as soon as they are told.
                std::mem::forget(self.control.take());
                return End::Stopped(self.reason);
            }
            self.judge_successor();
            if let ControlFlow::Break(newborn) = self.go_on_with_sites() {
                return End::Became(newborn);
            }
            let mut due = self.due().into_iter().chain(informed).min();
            if self.stage.keeps_pool() {
                match self.keep_front_and_pools() {
                    ControlFlow::Break(newborn) => return End::Became(newborn),
                    ControlFlow::Continue(again) => due = due.into_iter().chain(again).min(),
                }
            } else {
                self.sites.iter_mut().for_each(Site::forget_news);
                self.front_died = false;
            }
            // What has just failed is told to the rules at once: they know when to try again.
            if self.front_died || self.sites.iter().any(Site::has_news) {
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

    /// When something is due that nobody tells of, beside what the rules wait for.
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
            site.set_course(Course::Serving);
        }
        // Clients are served from now on, and who serves them must not wait for us.
        sink::hurry(true);
        self.control.iter_mut().for_each(Control::take_place);
        let urls = self.listeners.iter().map(Listener::url).collect();
        // What a mold tells about itself is the same for all: its Python.
        let (about, preload) = self.sites.first().map_or(("", false), Site::about);
        (self.announce)(&Serving {
            about: about.to_owned(),
            urls,
            preload,
        });
        self.systemd.ready();
    }

    /// Has the sites go on with what takes its time. Breaks in a process that was forked.
    fn go_on_with_sites(&mut self) -> ControlFlow<Newborn> {
        for index in 0..self.sites.len() {
            self.sites[index].go_on().map_break(Newborn::Mold)?;
            self.heed_sites();
        }
        ControlFlow::Continue(())
    }

    /// Sees to it that there is a front and that the pools are as the rules want them. Returns when to look again, and breaks in
    /// a process that was forked.
    fn keep_front_and_pools(&mut self) -> ControlFlow<Newborn, Option<Duration>> {
        let mut again = self.keep_front()?;
        for index in 0..self.sites.len() {
            let front = self.front.as_ref().map(|front| front.pid);
            let site = self.sites[index].keep_pool(front);
            let site = site.map_break(Newborn::Mold)?;
            again = again.into_iter().chain(site).min();
            self.heed_sites();
        }
        ControlFlow::Continue(again)
    }

    /// Does what the sites want the server to do.
    fn heed_sites(&mut self) {
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
            // It is done before the next wait.
            Source::LostLines => {}
            Source::Site(index, line) => {
                let strangers = self.strangers_to(index);
                self.sites[index].receive(line, &strangers);
            }
            Source::Signals => {
                while let Some(signal) = self.signals.next() {
                    self.obey(signal);
                    self.heed_sites();
                }
            }
        }
        self.heed_sites();
    }

    fn obey(&mut self, signal: Signal) {
        let sites = self.sites.iter_mut();
        match signal {
            Signal::SIGCHLD => self.reap(),
            Signal::SIGUSR1 => self.reopen_logs(),
            Signal::SIGHUP => sites.for_each(|site| site.ask_for_reload("SIGHUP", None)),
            Signal::SIGUSR2 => self.upgrade(),
            Signal::SIGTTIN => sites.for_each(Site::scale_up),
            Signal::SIGTTOU => sites.for_each(Site::scale_down),
            Signal::SIGWINCH => sites.for_each(Site::retire_all),
            signal => self.asked_to_stop(signal),
        }
    }
}
