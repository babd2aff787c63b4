//! Starts processes, and handles those that fail to start.

use std::ops::ControlFlow;

use exchange::ChildId;
use nix::errno::Errno;
use nix::unistd::Pid;
use tracing::{info, warn};

use crate::ipc::channel::Channel;
use crate::ipc::message::{Order, Spawn};
use crate::roles::{MoldBirth, MoldNewborn};
use crate::site::Site;
use crate::site::slots::{Child, Mold, Phase, Place, Record, Slot};
use crate::sys::fork::{Side, fork};

impl Site<'_> {
    /// The born children, with their process ids.
    pub(crate) fn born(&self) -> impl Iterator<Item = (ChildId, u32)> {
        let children = self.slots.iter().filter_map(Slot::child);
        children.filter_map(|child| Some((child.id, child.process()?)))
    }

    pub(super) fn build_mold(&mut self) -> ControlFlow<MoldNewborn> {
        let birth = MoldBirth {
            site: self.id,
            generation: self.generation,
            preload: self.preload,
            is_first: !self.startup.child_was_ready,
        };
        match self.fork_mold(birth)? {
            Ok(mold) => {
                self.startup.progress = mold.since;
                self.molds.serving = Some(mold);
            }
            Err(_) => {
                self.startup.forks_failed = true;
                self.events.push(pool::Event::MoldDied);
            }
        }
        ControlFlow::Continue(())
    }

    /// Forks a mold, and breaks in it.
    pub(super) fn fork_mold(
        &self,
        birth: MoldBirth,
    ) -> ControlFlow<MoldNewborn, nix::Result<Mold>> {
        let generation = birth.generation;
        let born = Channel::pair().and_then(|ends| Ok((ends, fork()?)));
        ControlFlow::Continue(match born {
            Ok(((_, link), Side::Child)) => {
                return ControlFlow::Break(MoldNewborn { link, birth });
            }
            Ok(((link, _), Side::Parent(pid))) => {
                info!(r#gen = generation, pid = pid.as_raw(), "mold loading");
                Ok(Mold::new(pid, generation, link, self.now()))
            }
            Err(errno) => {
                warn!(r#gen = generation, %errno, "mold cannot be forked");
                Err(errno)
            }
        })
    }

    pub(super) fn kill_late_mold(&mut self) {
        if let Some(mold) = &mut self.molds.serving {
            warn!(
                r#gen = mold.generation,
                pid = mold.pid.as_raw(),
                "mold takes longer than the startup timeout"
            );
            mold.kill();
            // Killing it counts as its death, so that the next mold is delayed.
            self.events.push(pool::Event::MoldDied);
        }
    }

    /// Kills a child that has taken too long to become ready, or to exit.
    pub(super) fn kill_late_child(&mut self, slot: u16) {
        let child = self.slots[usize::from(slot)].child();
        if child.is_some_and(|child| child.draining.is_some()) {
            self.kill_overdue_child(slot);
            return;
        }
        if let Some(child) = self.slots[usize::from(slot)].child_mut() {
            let pid = child.pid.map(Pid::as_raw);
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

    pub(super) fn order_child(&mut self, slot: u16) {
        // A failure is reported to the rules, or noticed by the mold's end.
        let _ = self.order_of(slot, false);
    }

    /// Orders a child from a mold, and returns its id. Its channel is created before: the end of the channel shows
    /// that the child has ended, or was never born.
    ///
    /// # Errors
    /// `EPIPE` when the mold has just died, which will be handled.
    pub(super) fn order_of(&mut self, slot: u16, next: bool) -> nix::Result<ChildId> {
        let is_first = next || !self.startup.child_was_ready;
        let since = self.now();
        let served_before = self.exchange.scoreboard().served(slot);
        let mold = if next {
            &self.molds.next
        } else {
            &self.molds.serving
        };
        let (Some(mold), place) = (mold, &mut self.slots[usize::from(slot)]) else {
            return Err(Errno::EPIPE);
        };
        let to_mold = mold.link.as_ref().ok_or(Errno::EPIPE)?;
        let id = ChildId {
            slot,
            incarnation: place.incarnation.wrapping_add(1),
        };
        let generation = mold.generation;
        let ordered = Channel::pair().and_then(|(link, channel)| {
            to_mold.try_send(Order::Spawn(Spawn {
                site: self.id,
                child: id,
                generation,
                is_first,
                channel,
            }))?;
            Ok(link)
        });
        match ordered {
            Ok(link) => {
                self.exchange
                    .scoreboard()
                    .child(slot)
                    .begin(id.incarnation, generation);
                let (link, phase) = (Some(link), Phase::Ordered);
                place.incarnation = id.incarnation;
                place.place = Place::Taken(Child {
                    id,
                    generation,
                    pid: None,
                    unadopted: None,
                    born: false,
                    serves: false,
                    link,
                    since,
                    phase,
                    leaving: false,
                    draining: None,
                    overdue: false,
                    is_short: false,
                    outgoing: false,
                    drains: false,
                    spent: false,
                    terminated: false,
                    unexpected: 0,
                    record: Record {
                        served_before,
                        served: (0, since),
                        private: None,
                    },
                });
                Ok(id)
            }
            Err(Errno::EPIPE) => Err(Errno::EPIPE),
            Err(errno) => {
                warn!(child = slot, r#gen = generation, %errno, "cannot be ordered");
                if !next {
                    self.events.push(pool::Event::ForkFailed);
                }
                Err(errno)
            }
        }
    }
}
