//! The front process: how it is started, and its messages.

use std::ops::ControlFlow;
use std::time::Duration;

use exchange::notice::{FromFront, ToFront};
use nix::sys::signal::Signal;
use pool::FrontAction;
use tracing::{info, warn};

use crate::ipc::channel::{Channel, Received};
use crate::server::front::{Drain, Front};
use crate::server::stage::Stage;
use crate::server::{Newborn, Server};
use crate::site::Site;
use crate::sys::fork::{Side, fork};
use crate::sys::process::kill_now;
use crate::sys::wait::Exit;

impl<'a> Server<'a> {
    /// Starts a front when `pool` says so. Returns when to check again, and breaks in a forked process.
    pub(super) fn keep_front(&mut self) -> ControlFlow<Newborn, Option<Duration>> {
        let died = std::mem::take(&mut self.front_died);
        let seen = Front::observed(self.front.as_ref());
        let now = self.now();
        match pool::decide_front(&mut self.front_memory, now, seen, died) {
            // Until then its predecessor accepts connections; here they would be lost if no child became ready.
            Some(FrontAction::Start)
                if self.settings.takes_over && !self.sites.iter().all(Site::has_served) => {}
            Some(FrontAction::Start) => self.start_front()?,
            Some(FrontAction::LookAgain { at }) => return ControlFlow::Continue(Some(at)),
            None => {}
        }
        ControlFlow::Continue(None)
    }

    fn start_front(&mut self) -> ControlFlow<Newborn> {
        let born = Channel::pair().and_then(|ends| Ok((ends, fork()?)));
        match born {
            Ok(((_, link), Side::Child)) => ControlFlow::Break(Newborn::Front {
                link,
                listeners: std::mem::take(&mut self.listeners),
                children: self.sites.iter().flat_map(Site::born).collect(),
            }),
            Ok(((link, _), Side::Parent(pid))) => {
                info!(pid = pid.as_raw(), "front started");
                self.front = Some(Front {
                    pid,
                    link: Some(link),
                    serving: None,
                    drain: Drain::Unasked,
                    reopen: false,
                    close: matches!(self.stage, Stage::Delay { .. }),
                });
                self.sites.iter_mut().for_each(Site::front_begins);
                ControlFlow::Continue(())
            }
            Err(errno) => {
                warn!(%errno, "front cannot be forked");
                self.forks_failed = true;
                self.front_died = true;
                ControlFlow::Continue(())
            }
        }
    }

    /// Receives the messages of the front.
    pub(super) fn receive_front(&mut self) {
        while let Some(front) = &mut self.front
            && let Some(link) = &front.link
        {
            match link.try_recv() {
                Received::Message(word) => self.front_message(word),
                Received::Empty => return,
                Received::Malformed | Received::Closed => {
                    front.link = None;
                    // Without messages about dead children, the front would let their requests wait for ever.
                    if self.stage.serves() {
                        kill_now(front.pid);
                    }
                }
            }
        }
    }

    fn front_message(&mut self, word: FromFront) {
        let now = self.now();
        match word {
            FromFront::Serving => {
                if let Some(front) = &mut self.front {
                    info!(pid = front.pid.as_raw(), "front serving");
                    front.serving = Some(now);
                }
                self.sites.iter_mut().for_each(Site::front_serves);
            }
            FromFront::Cleared(id) => self.site_of_front().cleared(id),
            FromFront::Drained => {
                if let Some(front) = &mut self.front {
                    front.drain = Drain::Done;
                }
            }
            FromFront::Corrupt(id) => self.site_of_front().kill_corrupt(id),
        }
    }

    /// The site that a message of the front concerns. Messages name a child but no site, because there is one site.
    fn site_of_front(&mut self) -> &mut Site<'a> {
        &mut self.sites[0]
    }

    /// A message to the front waits for room in the channel.
    pub(super) fn owes_front(&self) -> bool {
        let word = self
            .front
            .as_ref()
            .is_some_and(|front| front.drain == Drain::Owed || front.reopen || front.close);
        word || self.sites.iter().any(Site::owes_front)
    }

    /// Has the log files reopened. A front that is not running opens them when it starts.
    pub(super) fn reopen_logs(&mut self) {
        info!(signal = %Signal::SIGUSR1, "reopening logs");
        self.logging.maker = self.settings.provide_logs();
        if self.logging.maker.is_none() {
            self.have_logs_reopened();
        }
    }

    /// The files exist: the front opens them.
    pub(super) fn have_logs_reopened(&mut self) {
        if let Some(front) = &mut self.front {
            front.reopen = true;
        }
        self.inform_front();
    }

    /// Sends the front its messages, as far as the channel has room.
    pub(super) fn inform_front(&mut self) {
        let Some(front) = &mut self.front else {
            self.sites
                .iter_mut()
                .for_each(|site| site.inform_front(None));
            return;
        };
        let Some(link) = &front.link else { return };
        for site in &mut self.sites {
            site.inform_front(Some(link));
        }
        if front.reopen && link.try_send(ToFront::Reopen).is_ok() {
            front.reopen = false;
        }
        if front.close && link.try_send(ToFront::Close).is_ok() {
            front.close = false;
        }
        if front.drain == Drain::Owed && link.try_send(ToFront::Drain).is_ok() {
            front.drain = Drain::Asked;
        }
    }

    pub(super) fn reaped_front(&mut self, exit: Exit) {
        let Some(front) = self.front.take() else {
            return;
        };
        let is_killed = matches!(self.stage, Stage::Killing { .. });
        let (pid, cause) = (front.pid.as_raw(), exit.cause(is_killed));
        if self.stage.serves() {
            warn!(pid, cause, "front died");
            self.front_died = true;
        } else {
            info!(pid, cause, "front left");
        }
    }
}
