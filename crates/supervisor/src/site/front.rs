//! Messages between the supervisor and the front about this site's children.

use exchange::ChildId;
use exchange::notice::{FromFront, ToFront};
use nix::unistd::Pid;
use tracing::error;

use crate::ipc::channel::Channel;
use crate::site::Site;
use crate::site::slots::{Child, Delivery, Place, Slot};
use crate::sys::process::kill_now;

impl Site<'_> {
    /// A front was forked. Before it serves, it clears what children have left until now.
    pub(crate) fn front_begins(&mut self) {
        for slot in &mut self.slots {
            if let Place::Gone(_, delivery) = &mut slot.place {
                *delivery = Delivery::Inherited;
            }
        }
    }

    /// The front serves.
    pub(crate) fn front_serves(&mut self) {
        for slot in self.all_slots() {
            if let Place::Gone(_, Delivery::Inherited) = self.slots[usize::from(slot)].place {
                self.vacate(slot);
            }
        }
    }

    /// The front has cleared the slot of a dead child.
    pub(crate) fn cleared(&mut self, id: ChildId) {
        let slot = self.slot_of(id);
        if slot.is_some_and(|slot| matches!(slot.place, Place::Gone(..))) {
            self.vacate(id.slot);
        }
    }

    /// The front has found invalid data of this child in the exchange.
    pub(crate) fn kill_corrupt(&mut self, id: ChildId) {
        if let Some(child) = self.slot_of(id).and_then(Slot::child_mut) {
            let pid = child.pid.map(Pid::as_raw);
            error!(
                child = id.slot,
                r#gen = child.generation,
                pid,
                "wrote what no child writes"
            );
            if let Some(pid) = child.pid {
                kill_now(pid);
            }
        }
    }

    /// A message to the front waits for room in the channel.
    pub(crate) fn owes_front(&self) -> bool {
        self.slots.iter().any(|slot| match &slot.place {
            Place::Gone(_, delivery) => *delivery == Delivery::Owed,
            Place::Taken(child) => child.must_be_announced(),
            Place::Vacant => false,
        })
    }

    /// Sends the front the messages about this site's children, as far as the channel has room. Without a front
    /// there is nothing to send.
    pub(crate) fn inform_front(&mut self, link: Option<&Channel<ToFront, FromFront>>) {
        let children = self.slots.iter_mut().filter_map(Slot::child_mut);
        let unknown = children.filter(|child| child.must_be_announced());
        let Some(link) = link else {
            unknown.for_each(Child::let_serve);
            return;
        };
        for child in unknown {
            let Some(process) = child.process() else {
                continue;
            };
            if link.try_send(ToFront::Born(child.id, process)).is_err() {
                return;
            }
            // After the front was informed: it reads its messages when an unknown process asks for something.
            child.let_serve();
        }
        for slot in &mut self.slots {
            if let Place::Gone(id, delivery @ Delivery::Owed) = &mut slot.place {
                if link.try_send(ToFront::Gone(*id)).is_err() {
                    return;
                }
                *delivery = Delivery::Sent;
            }
        }
    }
}
