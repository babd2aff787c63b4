//! The end of the server: requests are finished first, and in the end no process is left.

use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use tracing::{error, info, warn};

use crate::process::exit::ExitReason;
use crate::server::Server;
use crate::server::front::Drain;
use crate::server::stage::Stage;
use crate::site::{ServerState, Site};
use crate::sys::process::kill_now;

/// How long the front and the mold may take to exit when nothing is left to do.
const EXIT_TIMEOUT: Duration = Duration::from_secs(2);

/// How long killed processes may take to end. A process that is blocked on a disk ends when the disk responds.
const KILLED: Duration = Duration::from_secs(2);

impl Server<'_> {
    /// Handles a signal to stop: QUIT stops at once, TERM and INT gracefully, a second INT at once.
    pub(super) fn handle_stop_signal(&mut self, signal: Signal) {
        let gracefully = match signal {
            // Before serving there is nothing to finish.
            _ if !self.announced => false,
            Signal::SIGQUIT => false,
            Signal::SIGINT => self.stage == Stage::Up,
            _ => true,
        };
        if !gracefully {
            match self.stage {
                Stage::Killing { .. } => {}
                // Processes that were told to exit get no further time.
                Stage::Leaving { .. } => self.kill_all(),
                _ => {
                    info!(%signal, "stopping at once");
                    self.abort_starts("the server is stopping");
                    self.break_off();
                }
            }
        } else if self.stage == Stage::Up {
            info!(%signal, "stopping");
            self.abort_starts("the server is stopping");
            let delay = self.settings.shutdown_delay;
            if delay.is_zero() {
                self.drain_front();
            } else {
                info!(
                    delay_ms = delay.as_millis(),
                    "serving on until the delay is over"
                );
                if let Some(front) = &mut self.front {
                    front.close = true;
                }
                self.enter(Stage::Delay {
                    until: self.now() + delay,
                });
                self.inform_front();
            }
        }
    }

    /// Another server has taken over: this one finishes its requests.
    pub(super) fn leave_to_successor(&mut self) {
        info!("stopping: another server has taken over");
        self.abort_starts("another server has taken over");
        // The files of its unix sockets belong to the other server now.
        self.listeners.clear();
        self.drain_front();
    }

    /// The front stops accepting, and finishes its connections.
    fn drain_front(&mut self) {
        self.stop_listening();
        if let Some(front) = &mut self.front {
            front.drain = Drain::Owed;
        }
        self.enter(Stage::FrontDrains {
            until: self.now() + self.settings.shutdown_timeout,
        });
        self.inform_front();
    }

    /// Aborts a reload, an upgrade and the start of processes.
    fn abort_starts(&mut self, why: &str) {
        for site in &mut self.sites {
            site.break_off_reload(why);
        }
        self.break_off_upgrade();
    }

    /// The front accepts the connections in the backlog. Our copies of the listeners are closed, so that later
    /// connections are refused instead of waiting.
    fn stop_listening(&mut self) {
        for listener in self.listeners.drain(..) {
            listener.remove_file();
        }
    }

    /// Enters another stage: no site starts anything from now on.
    pub(super) fn enter(&mut self, stage: Stage) {
        self.stage = stage;
        for site in &mut self.sites {
            site.set_server_state(ServerState::Stopping);
        }
    }

    /// The server cannot continue.
    pub(super) fn fail(&mut self, reason: ExitReason) {
        // A requested stop keeps its exit reason, whatever fails meanwhile.
        if self.stage == Stage::Up {
            self.reason = reason;
            self.kill_all();
        }
    }

    /// When the startup is checked next.
    pub(super) fn startup_due(&self) -> Option<Duration> {
        let open = !self.announced && self.stage == Stage::Up;
        let due = self.sites.iter().filter_map(Site::startup_due);
        due.min().filter(|_| open)
    }

    /// Gives up when the server does not become ready in time.
    pub(super) fn judge_startup(&mut self) {
        if self.startup_due().is_none_or(|due| self.now() < due) {
            return;
        }
        let forks_failed = self.forks_failed || self.sites.iter().any(Site::has_failed_to_fork);
        if self.sites.iter().all(Site::has_served) {
            error!("the front does not come to serve within the startup timeout");
            self.fail(ExitReason::CannotStart);
        } else if forks_failed {
            error!("no child could be started within the startup timeout");
            self.fail(ExitReason::CannotStart);
        } else {
            error!("no child was ready within the startup timeout");
            self.fail(ExitReason::NotLoaded);
        }
    }

    /// Advances through the stages as far as possible. True when no process is left.
    pub(super) fn advance_stages(&mut self) -> bool {
        loop {
            let now = self.now();
            match self.stage {
                Stage::Up => return false,
                Stage::Delay { until } => {
                    if now < until {
                        return false;
                    }
                    self.drain_front();
                }
                Stage::FrontDrains { until } => {
                    let done = self
                        .front
                        .as_ref()
                        .is_none_or(|front| front.drain == Drain::Done);
                    if !done && now < until {
                        return false;
                    }
                    if !done {
                        warn!("connections are left at the end of the shutdown timeout");
                    }
                    self.drain_children();
                    self.enter(Stage::ChildrenDrain { until });
                }
                Stage::ChildrenDrain { until } => {
                    let left: usize = self.sites.iter().map(Site::count_children).sum();
                    if left > 0 && now < until {
                        return false;
                    }
                    if left > 0 {
                        warn!(
                            children = left,
                            "not finished at the end of the shutdown timeout"
                        );
                        self.sites.iter_mut().for_each(Site::kill_overdue_children);
                    }
                    // The mold is told to exit instead of being killed: it removes files that the application
                    // created while loading.
                    self.dismiss_front();
                    let until = now + EXIT_TIMEOUT;
                    for site in &mut self.sites {
                        site.dismiss_molds(until);
                    }
                    self.enter(Stage::Leaving { until });
                }
                Stage::Leaving { until } => {
                    if (self.front.is_some() || self.sites.iter().any(Site::has_mold))
                        && now < until
                    {
                        return false;
                    }
                    self.kill_all();
                }
                Stage::Killing { until } => {
                    let left = self.left();
                    if !left.is_empty() && now >= until {
                        let pids = format!("{left:?}");
                        error!(
                            pids,
                            "killed, and not ended: the kernel waits for something, such as a disk"
                        );
                    }
                    return left.is_empty() || now >= until;
                }
            }
        }
    }

    /// Tells every child to drain.
    fn drain_children(&mut self) {
        for index in 0..self.sites.len() {
            let strangers = self.strangers_to(index);
            self.sites[index].drain_children(&strangers);
            self.perform_effects();
        }
    }

    /// In a stop, makes children give up output that has no reader.
    pub(super) fn mute_children(&mut self) {
        let now = self.now();
        if !self.logging.is_time_to_mute(now) {
            return;
        }
        self.sites.iter().for_each(Site::mute_children);
    }

    /// Breaks off what is unfinished. The front is told to exit instead of being killed: it logs each request that
    /// is broken off.
    fn break_off(&mut self) {
        self.dismiss_front();
        self.sites.iter_mut().for_each(Site::kill_all);
        self.enter(Stage::Leaving {
            until: self.now() + EXIT_TIMEOUT,
        });
    }

    fn dismiss_front(&self) {
        if let Some(link) = self.front.as_ref().and_then(|front| front.link.as_ref()) {
            link.finish();
        }
    }

    /// The processes that have not ended.
    fn left(&self) -> Vec<i32> {
        let front = self.front.as_ref().map(|front| front.pid);
        let front = front.into_iter().map(Pid::as_raw);
        front
            .chain(self.sites.iter().flat_map(Site::left))
            .collect()
    }

    /// Kills all remaining processes.
    fn kill_all(&mut self) {
        self.enter(Stage::Killing {
            until: self.now() + KILLED,
        });
        if let Some(front) = &self.front {
            kill_now(front.pid);
        }
        self.sites.iter_mut().for_each(Site::kill_all);
    }
}
