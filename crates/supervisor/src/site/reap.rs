//! How processes end, and what is said about it.

use exchange::ChildState;
use nix::unistd::Pid;
use tracing::{error, info, warn};

use crate::process::exit;
use crate::process::exit::ExitReason;
use crate::site::Site;
use crate::site::slots::{Child, Delivery, Phase, Place, Slot, Who};
use crate::sys::wait::Exit;

impl Site<'_> {
    /// A process has ended. Tells whether it is one of this site's: what it has said before its end is received first.
    pub(crate) fn reaped(&mut self, pid: Pid, exit: Exit, strangers: &[Pid]) -> bool {
        match self.who(pid) {
            Some(Who::Mold) => {
                self.receive_mold(pid);
                self.reaped_mold(pid, exit);
            }
            Some(Who::Child(slot)) => {
                self.receive_child(slot, strangers);
                self.reaped_child(slot, exit);
            }
            None => return false,
        }
        true
    }

    pub(super) fn who(&self, pid: Pid) -> Option<Who> {
        if self.molds.iter().any(|mold| mold.pid == pid) {
            return Some(Who::Mold);
        }
        let mut children = self.slots.iter().filter_map(Slot::child);
        let child = children.find(|child| child.pid == Some(pid));
        child.map(|child| Who::Child(child.id.slot))
    }

    /// Receives what children say that are not known to be born: one may have told of its birth just before it died.
    pub(crate) fn receive_unborn(&mut self, strangers: &[Pid]) {
        for slot in self.all_slots() {
            if self.slots[usize::from(slot)]
                .child()
                .is_some_and(|child| child.pid.is_none())
            {
                self.receive_child(slot, strangers);
            }
        }
    }

    fn reaped_mold(&mut self, pid: Pid, exit: Exit) {
        let is_next = self.molds.next.as_ref().is_some_and(|mold| mold.pid == pid);
        let is_former = self.molds.former.iter().any(|mold| mold.pid == pid);
        let Some(mold) = self.molds.take(pid) else {
            return;
        };
        let (generation, pid, cause) = (mold.generation, mold.pid.as_raw(), exit.to_string());
        if mold.leaving {
            info!(r#gen = generation, pid, cause, "mold left");
            return;
        }
        warn!(r#gen = generation, pid, cause, "mold died");
        if is_former {
            // It would have forked nobody any more.
            return;
        }
        if is_next {
            self.reload_failed(format!("the new mold died: {exit}"));
            return;
        }
        self.events.push(pool::Event::MoldDied);
        if !self.startup.child_was_ready {
            error!("the mold has ended before any child was ready");
            self.fail(match exit {
                // Once the application is being loaded, the code is the application's.
                Exit::Code(exit::INTERNAL) if !mold.loads => ExitReason::Internal,
                Exit::Code(exit::CANNOT_START) if !mold.loads => ExitReason::CannotStart,
                Exit::Code(_) | Exit::Signal { .. } => ExitReason::NotLoaded,
            });
        }
    }

    fn reaped_child(&mut self, slot: u16, exit: Exit) {
        let place = &mut self.slots[usize::from(slot)].place;
        let Place::Taken(child) = std::mem::replace(place, Place::Vacant) else {
            return;
        };
        // One that has left as it was told has answered everything, although the front may not have read it all yet.
        let finished = child.leaving && exit == Exit::Code(0);
        let in_flight = if finished {
            None
        } else {
            self.in_flight(child.id)
        };
        // From the end of the child's life to the front's answer nobody else may use its places in the exchange.
        self.exchange
            .scoreboard()
            .child(slot)
            .set_state(ChildState::Gone);
        self.slots[usize::from(slot)].place = Place::Gone(child.id, Delivery::Owed);
        say_it_ended(&child, exit, in_flight.as_deref());
        self.events.push(pool::Event::Reaped {
            slot,
            exit: exit_for_pool(&child, exit),
        });
        if self.is_trial(child.id) {
            self.reload_failed(format!(
                "the first child of the new generation died: {exit}"
            ));
            return;
        }
        if !child.leaving && child.phase != Phase::Ready {
            self.events.push(pool::Event::DiedStarting);
            self.judge_start(&child);
        }
    }

    /// Fails the start when the last child that loads the application for itself has ended before any was ready, as it
    /// fails with a mold. What the machine lacks is another matter, and may be there later.
    fn judge_start(&mut self, child: &Child) {
        let is_last = self.slots.iter().all(|slot| slot.child().is_none());
        if is_last && !self.preload && !self.startup.child_was_ready && !child.is_short {
            error!("the last child has ended before any was ready");
            self.fail(ExitReason::NotLoaded);
        }
    }
}

/// The end of a child as the rules are told of it.
fn exit_for_pool(child: &Child, exit: Exit) -> pool::Exit {
    match exit {
        // It was told to go, and so it has.
        Exit::Signal { .. } if child.overdue => pool::Exit::Normal,
        Exit::Signal { .. } => pool::Exit::Signal,
        Exit::Code(_) if child.is_short && !child.leaving => pool::Exit::Sick,
        Exit::Code(_) => pool::Exit::Normal,
    }
}

fn say_it_ended(child: &Child, exit: Exit, in_flight: Option<&str>) {
    let (slot, generation, pid) = (child.id.slot, child.generation, child.pid.map(Pid::as_raw));
    let cause = exit.to_string();
    if child.overdue {
        let reason = "shutdown-timeout";
        info!(child = slot, r#gen = generation, pid, cause, reason, "left");
    } else if child.leaving && in_flight.is_none() {
        info!(child = slot, r#gen = generation, pid, cause, "left");
    } else {
        warn!(
            child = slot,
            r#gen = generation,
            pid,
            cause,
            in_flight,
            "died"
        );
    }
}
