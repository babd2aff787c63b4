//! Handles the end of processes.

use exchange::ChildState;
use nix::unistd::Pid;
use tracing::{error, info, warn};

use crate::process::exit;
use crate::process::exit::ExitReason;
use crate::site::Site;
use crate::site::slots::{Child, Delivery, Phase, Place, Role, Slot};
use crate::sys::wait::Exit;

impl Site<'_> {
    /// Handles the end of a process. Returns whether it belongs to this site; its last messages are received first.
    pub(crate) fn reaped(&mut self, pid: Pid, exit: Exit, strangers: &[Pid]) -> bool {
        match self.role_of(pid) {
            Some(Role::Mold) => {
                self.receive_mold(pid);
                self.reaped_mold(pid, exit);
            }
            Some(Role::Child(slot)) => {
                self.receive_child(slot, strangers);
                self.reaped_child(slot, exit);
            }
            None => return false,
        }
        true
    }

    pub(super) fn role_of(&self, pid: Pid) -> Option<Role> {
        if self.molds.iter().any(|mold| mold.pid == pid) {
            return Some(Role::Mold);
        }
        let mut children = self.slots.iter().filter_map(Slot::child);
        let child = children.find(|child| child.pid == Some(pid));
        child.map(|child| Role::Child(child.id.slot))
    }

    /// Receives the messages of children whose birth is unknown: one may have reported it just before it died.
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
        let is_killed = mold.leaving && mold.leave_by.is_none() && !mold.overdue;
        let (generation, pid, cause) = (mold.generation, mold.pid.as_raw(), exit.cause(is_killed));
        if mold.leaving {
            info!(r#gen = generation, pid, cause, "mold left");
            return;
        }
        warn!(r#gen = generation, pid, cause, "mold died");
        if is_former {
            // It would not have forked any more.
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
                // Once the application is being loaded, its code determines the exit code.
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
        // A child that left as ordered has answered all requests, although the front may not have read everything
        // yet.
        let finished = child.leaving && exit == Exit::Code(0);
        let in_flight = if finished {
            None
        } else {
            self.in_flight(child.id)
        };
        // Until the front has cleared the slot, its places in the exchange must not be reused.
        self.exchange
            .scoreboard()
            .child(slot)
            .set_state(ChildState::Gone);
        self.slots[usize::from(slot)].place = Place::Gone(child.id, Delivery::Owed);
        log_end(&child, exit, in_flight.as_deref());
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

    /// Fails the start when the last child that loads the application itself has ended before any was ready, as
    /// with a mold. A lack of resources is not final.
    fn judge_start(&mut self, child: &Child) {
        let is_last = self.slots.iter().all(|slot| slot.child().is_none());
        if is_last && !self.preload && !self.startup.child_was_ready && !child.is_short {
            error!("the last child has ended before any was ready");
            self.fail(ExitReason::NotLoaded);
        }
    }
}

/// The end of a child as an input for `pool`.
fn exit_for_pool(child: &Child, exit: Exit) -> pool::Exit {
    match exit {
        // It was told to exit.
        Exit::Signal { .. } if child.overdue => pool::Exit::Normal,
        Exit::Signal { .. } => pool::Exit::Signal,
        Exit::Code(_) if child.is_short && !child.leaving => pool::Exit::Sick,
        Exit::Code(_) => pool::Exit::Normal,
    }
}

fn log_end(child: &Child, exit: Exit, in_flight: Option<&str>) {
    let (slot, generation, pid) = (child.id.slot, child.generation, child.pid.map(Pid::as_raw));
    let is_killed = child.leaving && child.draining.is_none() && !child.overdue;
    let cause = exit.cause(is_killed);
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
