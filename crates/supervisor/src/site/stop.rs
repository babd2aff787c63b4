//! The end of a site in a stop of the server.

use std::time::Duration;

use nix::unistd::Pid;

use crate::ipc::message::ChildOrder;
use crate::site::Site;
use crate::site::retire::drain;
use crate::site::slots::{Mold, Phase, Slot};

impl Site<'_> {
    /// Children that have not been reaped.
    pub(crate) fn count_children(&self) -> usize {
        self.slots.iter().filter_map(Slot::child).count()
    }

    /// There is a mold that has not been reaped.
    pub(crate) fn has_mold(&self) -> bool {
        self.molds.iter().next().is_some()
    }

    /// Tells every child to drain. One that is not ready is killed, because it may not read orders for a long time.
    pub(crate) fn drain_children(&mut self, strangers: &[Pid]) {
        // It may have become ready since its last message was received.
        for slot in self.all_slots() {
            self.receive_child(slot, strangers);
        }
        let now = self.now();
        for child in self.slots.iter_mut().filter_map(Slot::child_mut) {
            if child.phase != Phase::Ready {
                child.kill();
                continue;
            }
            drain(child, self.exchange, now);
        }
    }

    /// Makes children give up output that has no reader.
    pub(crate) fn mute_children(&self) {
        for child in self.slots.iter().filter_map(Slot::child) {
            // A child whose channel is full already has this order in it.
            let _ = child
                .link
                .as_ref()
                .map(|link| link.try_send(ChildOrder::GiveUpOutput));
        }
    }

    /// Tells the molds to exit instead of killing them: they remove files that the application created while
    /// loading.
    pub(crate) fn dismiss_molds(&mut self, until: Duration) {
        self.molds.iter_mut().for_each(|mold| mold.dismiss(until));
    }

    /// The process ids that have not ended. For a child that was never born: 0.
    pub(crate) fn left(&self) -> impl Iterator<Item = i32> {
        let molds = self.molds.iter().map(|mold| mold.pid.as_raw());
        let children = self.slots.iter().filter_map(Slot::child);
        molds.chain(children.map(|child| child.pid.map_or(0, Pid::as_raw)))
    }

    /// Kills every process. A child that is not born yet is killed at its birth, or never born because its mold is
    /// dead.
    pub(crate) fn kill_all(&mut self) {
        self.molds.iter_mut().for_each(Mold::kill);
        for child in self.slots.iter_mut().filter_map(Slot::child_mut) {
            child.kill();
        }
    }
}
