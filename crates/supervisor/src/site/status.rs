//! The status of a site.

use exchange::Load;

use crate::control::{ChildStatus, MoldStatus, Process, SiteStatus};
use crate::site::Site;
use crate::site::slots::{Child, Mold, Phase, Slot};

/// The processes of a site.
pub(crate) struct SiteProcesses {
    /// The site itself.
    pub(crate) site: SiteStatus,
    /// The serving mold.
    pub(crate) mold: Option<MoldStatus>,
    /// The mold of a generation that is loading.
    pub(crate) next_mold: Option<MoldStatus>,
    /// The children, by slot.
    pub(crate) children: Vec<ChildStatus>,
}

/// The load of a site.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Occupancy {
    /// Threads that have a request.
    pub(crate) busy: usize,
    /// Threads of ready children without a request.
    pub(crate) idle: usize,
    /// Requests that wait for a thread.
    pub(crate) waiting: u32,
    /// Children that are ready.
    pub(crate) ready: usize,
}

impl Site<'_> {
    /// Its processes and load.
    pub(crate) fn status(&self) -> SiteProcesses {
        let load = self.exchange.load();
        let threads = u16::from(self.exchange.geometry().threads);
        let children: Vec<_> = self
            .slots
            .iter()
            .filter_map(Slot::child)
            .map(|child| self.child_status(child, &load))
            .collect();
        let ready = children.iter().filter(|child| child.state == "ready");
        let idle = ready.map(|child| u32::from(threads.saturating_sub(child.busy)));
        SiteProcesses {
            site: SiteStatus {
                site: self.id,
                application: self.settings.title.clone(),
                generation: self.generation,
                size: self.size(),
                threads,
                busy: load.busy.iter().copied().map(u32::from).sum(),
                idle: idle.sum(),
                waiting: load.waiting(),
            },
            mold: self
                .molds
                .serving
                .as_ref()
                .map(|mold| self.mold_status(mold)),
            next_mold: self.molds.next.as_ref().map(|mold| self.mold_status(mold)),
            children,
        }
    }

    /// Its load.
    pub(crate) fn occupancy(&self) -> Occupancy {
        let load = self.exchange.load();
        let busy = load.busy.iter().copied().map(usize::from).sum();
        let is_ready = |child: &&Child| child.phase == Phase::Ready && !child.leaving;
        let children = self.slots.iter().filter_map(Slot::child);
        let ready = children.filter(is_ready).count();
        let threads = ready * usize::from(self.exchange.geometry().threads);
        Occupancy {
            busy,
            idle: threads.saturating_sub(busy),
            waiting: load.waiting(),
            ready,
        }
    }

    fn child_status(&self, child: &Child, load: &Load) -> ChildStatus {
        let state = match child.phase {
            _ if child.leaving => "leaving",
            Phase::Ready => "ready",
            Phase::Ordered | Phase::Starting => "starting",
        };
        let slot = child.id.slot;
        let busy = load.busy.get(usize::from(slot)).copied();
        ChildStatus {
            slot,
            process: Process::of(child.pid.map_or(0, |pid| pid.as_raw().cast_unsigned())),
            site: self.id,
            generation: child.generation,
            state: state.to_owned(),
            busy: busy.unwrap_or_default(),
            served: self.exchange.scoreboard().served(slot),
        }
    }

    fn mold_status(&self, mold: &Mold) -> MoldStatus {
        let state = match mold.ready {
            _ if mold.leaving => "leaving",
            Some(_) => "ready",
            None => "loading",
        };
        MoldStatus {
            process: Process::of(mold.pid.as_raw().cast_unsigned()),
            site: self.id,
            generation: mold.generation,
            state: state.to_owned(),
        }
    }
}
