//! How the server ends: what has begun is finished first, and at the end no process is left.

use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use tracing::{error, info, warn};

use crate::ipc::message::ChildOrder;
use crate::process::exit::ExitReason;
use crate::server::Monitor;
use crate::server::stage::Stage;
use crate::site::retire::drain;
use crate::site::slots::{Drain, Mold, Phase, Slot};
use crate::sys::process::kill_now;

/// How long the front and the mold may take to leave when nothing is left to do.
const FAREWELL: Duration = Duration::from_secs(2);

/// How long those that were killed may take to end. What waits for a disk that does not answer ends when it does.
const KILLED: Duration = Duration::from_secs(2);

impl Monitor<'_> {
    /// A signal asks for the end: QUIT at once, TERM and INT gracefully, INT at once the second time.
    pub(crate) fn asked_to_stop(&mut self, signal: Signal) {
        let gracefully = match signal {
            // Before anything has been served there is nothing to finish.
            _ if !self.startup.announced => false,
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
                self.stage = Stage::Delay {
                    until: self.now() + delay,
                };
                self.inform_front();
            }
        }
    }

    /// Another server has taken over: this one finishes what it has begun.
    pub(crate) fn leave_to_successor(&mut self) {
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
        self.stage = Stage::FrontDrains {
            until: self.now() + self.settings.shutdown_timeout,
        };
        self.inform_front();
    }

    /// Whoever is not there yet is not wanted any more.
    fn abandon_what_begins(&mut self, why: &str) {
        self.break_off_reload(why);
        self.break_off_upgrade();
    }

    /// The front takes what has already arrived; with our copies gone, too, whoever comes later is refused instead of
    /// waiting for nobody.
    fn stop_listening(&mut self) {
        for listener in self.listeners.drain(..) {
            listener.remove_file();
        }
    }

    /// The server cannot go on.
    pub(crate) fn fail(&mut self, verdict: ExitReason) {
        // A stop that was asked for stays one, whatever breaks on the way.
        if self.stage == Stage::Up {
            self.verdict = verdict;
            self.kill_all();
        }
    }

    /// When the start is judged next.
    pub(crate) fn startup_due(&self) -> Option<Duration> {
        let open = !self.startup.announced && self.stage == Stage::Up && !self.waits_for_change();
        open.then(|| self.startup.progress + self.settings.startup_timeout)
    }

    /// Gives up when the server does not come to serve.
    pub(crate) fn judge_startup(&mut self) {
        if self.startup_due().is_none_or(|due| self.now() < due) {
            return;
        }
        if self.startup.child_was_ready {
            error!("the front does not come to serve within the startup timeout");
            self.fail(ExitReason::CannotStart);
        } else if self.startup.forks_failed {
            error!("no child could be started within the startup timeout");
            self.fail(ExitReason::CannotStart);
        } else {
            error!("no child was ready within the startup timeout");
            self.fail(ExitReason::NotLoaded);
        }
    }

    /// Goes from stage to stage as far as possible. True when no process is left.
    pub(crate) fn stop_by_stages(&mut self) -> bool {
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
                    self.stage = Stage::ChildrenDrain { until };
                }
                Stage::ChildrenDrain { until } => {
                    let left = self
                        .slots
                        .iter()
                        .filter(|slot| slot.child().is_some())
                        .count();
                    if left > 0 && now < until {
                        return false;
                    }
                    if left > 0 {
                        warn!(
                            children = left,
                            "not finished at the end of the shutdown timeout"
                        );
                        self.kill_overdue_children();
                    }
                    // The mold is told to leave and not killed: it removes what the application has made at load.
                    self.dismiss_front();
                    let until = now + FAREWELL;
                    self.molds_mut().for_each(|mold| mold.dismiss(until));
                    self.stage = Stage::Farewell { until };
                }
                Stage::Farewell { until } => {
                    if (self.front.is_some() || self.has_mold()) && now < until {
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

    /// Tells every child to finish. One that is not ready has nothing to finish, and may not listen for long.
    fn drain_children(&mut self) {
        // It may have become ready since it was heard last.
        self.all_slots().for_each(|slot| self.receive_child(slot));
        let now = self.now();
        for child in self.slots.iter_mut().filter_map(Slot::child_mut) {
            if child.phase != Phase::Ready {
                child.kill();
                continue;
            }
            drain(child, self.exchange, now);
        }
    }

    /// In a stop, has children give up output that nobody reads.
    pub(crate) fn mute_children(&mut self) {
        let now = self.now();
        if !self.logging.is_time_to_mute(now) {
            return;
        }
        for child in self.slots.iter().filter_map(Slot::child) {
            // One that has no room for it has heard it before.
            let _ = child
                .link
                .as_ref()
                .map(|link| link.try_send(ChildOrder::GiveUpOutput));
        }
    }

    /// Ends what is not finished. The front is told to leave and not killed: the access log is to have a line for each
    /// request that is broken off.
    fn break_off(&mut self) {
        self.dismiss_front();
        self.kill_mold_and_children();
        self.stage = Stage::Farewell {
            until: self.now() + FAREWELL,
        };
    }

    fn dismiss_front(&self) {
        if let Some(link) = self.front.as_ref().and_then(|front| front.link.as_ref()) {
            link.finish();
        }
    }

    /// The processes that have not ended.
    fn left(&mut self) -> Vec<i32> {
        let front = self.front.as_ref().map(|front| front.pid);
        let molds: Vec<_> = self.molds_mut().map(|mold| mold.pid).collect();
        let children = self.slots.iter().filter_map(Slot::child);
        // One that was never born has no number.
        let children = children.map(|child| child.pid.unwrap_or(Pid::from_raw(0)));
        let all = front.into_iter().chain(molds).chain(children);
        all.map(Pid::as_raw).collect()
    }

    /// Kills whoever is left.
    fn kill_all(&mut self) {
        self.stage = Stage::Killing {
            until: self.now() + KILLED,
        };
        if let Some(front) = &self.front {
            kill_now(front.pid);
        }
        self.kill_mold_and_children();
    }

    /// Who is not born yet is killed at birth, and is not born once the mold is dead.
    fn kill_mold_and_children(&mut self) {
        self.molds_mut().for_each(Mold::kill);
        for child in self.slots.iter_mut().filter_map(Slot::child_mut) {
            child.kill();
        }
    }
}
