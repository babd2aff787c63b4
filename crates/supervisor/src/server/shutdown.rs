//! How the server ends: what has begun is finished first, and at the end no process is left.

use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use tracing::{error, info, warn};

use crate::process::exit::ExitReason;
use crate::server::Server;
use crate::server::front::Drain;
use crate::server::stage::Stage;
use crate::site::{Course, Site};
use crate::sys::process::kill_now;

/// How long the front and the mold may take to leave when nothing is left to do.
const FAREWELL: Duration = Duration::from_secs(2);

/// How long those that were killed may take to end. What waits for a disk that does not answer ends when it does.
const KILLED: Duration = Duration::from_secs(2);

impl Server<'_> {
    /// A signal asks for the end: QUIT at once, TERM and INT gracefully, INT at once the second time.
    pub(super) fn asked_to_stop(&mut self, signal: Signal) {
        let gracefully = match signal {
            // Before anything has been served there is nothing to finish.
            _ if !self.announced => false,
            Signal::SIGQUIT => false,
            Signal::SIGINT => self.stage == Stage::Up,
            _ => true,
        };
        if !gracefully {
            match self.stage {
                Stage::Killing { .. } => {}
                // Whoever has been asked to leave does not get the time any more.
                Stage::Farewell { .. } => self.kill_all(),
                _ => {
                    info!(%signal, "stopping at once");
                    self.abandon_what_begins("the server is stopping");
                    self.break_off();
                }
            }
        } else if self.stage == Stage::Up {
            info!(%signal, "stopping");
            self.abandon_what_begins("the server is stopping");
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

    /// Another server has taken over: this one finishes what it has begun.
    pub(super) fn leave_to_successor(&mut self) {
        info!("stopping: another server has taken over");
        self.abandon_what_begins("another server has taken over");
        // The files of its unix sockets are the other one's now.
        self.listeners.clear();
        self.drain_front();
    }

    /// The front takes no new connection, and finishes those it has.
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

    /// Whoever is not there yet is not wanted any more.
    fn abandon_what_begins(&mut self, why: &str) {
        for site in &mut self.sites {
            site.break_off_reload(why);
        }
        self.break_off_upgrade();
    }

    /// The front takes what has already arrived; with our copies gone, too, whoever comes later is refused instead of
    /// waiting for nobody.
    fn stop_listening(&mut self) {
        for listener in self.listeners.drain(..) {
            listener.remove_file();
        }
    }

    /// The server goes to another stage: no site begins anything any more.
    pub(super) fn enter(&mut self, stage: Stage) {
        self.stage = stage;
        for site in &mut self.sites {
            site.set_course(Course::Stopping);
        }
    }

    /// The server cannot go on.
    pub(super) fn fail(&mut self, reason: ExitReason) {
        // A stop that was asked for stays one, whatever breaks on the way.
        if self.stage == Stage::Up {
            self.reason = reason;
            self.kill_all();
        }
    }

    /// When the start is judged next.
    pub(super) fn startup_due(&self) -> Option<Duration> {
        let open = !self.announced && self.stage == Stage::Up;
        let due = self.sites.iter().filter_map(Site::startup_due);
        due.min().filter(|_| open)
    }

    /// Gives up when the server does not come to serve.
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

    /// Goes from stage to stage as far as possible. True when no process is left.
    pub(super) fn stop_by_stages(&mut self) -> bool {
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
                    // The mold is told to leave and not killed: it removes what the application has made at load.
                    self.dismiss_front();
                    let until = now + FAREWELL;
                    for site in &mut self.sites {
                        site.dismiss_molds(until);
                    }
                    self.enter(Stage::Farewell { until });
                }
                Stage::Farewell { until } => {
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

    /// Tells every child to finish.
    fn drain_children(&mut self) {
        for index in 0..self.sites.len() {
            let strangers = self.strangers_to(index);
            self.sites[index].drain_children(&strangers);
            self.heed_sites();
        }
    }

    /// In a stop, has children give up output that nobody reads.
    pub(super) fn mute_children(&mut self) {
        let now = self.now();
        if !self.logging.is_time_to_mute(now) {
            return;
        }
        self.sites.iter().for_each(Site::mute_children);
    }

    /// Ends what is not finished. The front is told to leave and not killed: the access log is to have a line for each
    /// request that is broken off.
    fn break_off(&mut self) {
        self.dismiss_front();
        self.sites.iter_mut().for_each(Site::kill_all);
        self.enter(Stage::Farewell {
            until: self.now() + FAREWELL,
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

    /// Kills whoever is left.
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
