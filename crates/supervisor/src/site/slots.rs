//! The processes of a site.

use std::time::Duration;

use exchange::ChildId;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::ipc::channel::Channel;
use crate::ipc::message::{ChildOrder, ChildReport, MoldReport, Order};
use crate::sys::process::{Handle, kill_now};
use crate::sys::wait;

/// A mold.
#[derive(Debug)]
pub(crate) struct Mold {
    pub(crate) pid: Pid,
    pub(crate) generation: u32,
    /// `None` once either side has closed it.
    pub(crate) link: Option<Channel<Order, MoldReport>>,
    pub(crate) since: Duration,
    /// Since when it forks children.
    pub(crate) ready: Option<Duration>,
    /// It runs code of the application, which may determine how it ends.
    pub(crate) loads: bool,
    /// It has been killed or told to exit: its end is expected.
    pub(crate) leaving: bool,
    /// The deadline for its exit, once it was told to.
    pub(crate) leave_by: Option<Duration>,
    /// It was killed because it had not exited by then.
    pub(crate) overdue: bool,
    /// The number of its unexpected messages.
    pub(crate) unexpected: u8,
}

/// The role of a process of a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// A mold.
    Mold,
    /// The child in this slot.
    Child(u16),
}

/// The molds of a site that have not been reaped.
#[derive(Debug, Default)]
pub(crate) struct Molds {
    /// The mold of the serving generation.
    pub(crate) serving: Option<Mold>,
    /// The mold of a generation that has not taken over.
    pub(crate) next: Option<Mold>,
    /// Molds that were told to exit, or will be after their last child.
    pub(crate) former: Vec<Mold>,
}

/// A child slot. The incarnation number outlives the child.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    pub(crate) incarnation: u8,
    pub(crate) place: Place,
}

/// The occupant of a slot.
#[derive(Debug, Default)]
pub(crate) enum Place {
    /// No child.
    #[default]
    Vacant,
    /// A child that was ordered and has not been reaped.
    Taken(Child),
    /// A child that was reaped, until the front has cleared the slot.
    Gone(ChildId, Delivery),
}

/// Whether the front knows that a child has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// The message is to be sent once the channel has room, or a front exists.
    Owed,
    /// The message was sent.
    Sent,
    /// The child had ended before the front was forked, which clears such slots before it serves.
    Inherited,
}

/// A child.
#[derive(Debug)]
pub(crate) struct Child {
    pub(crate) id: ChildId,
    pub(crate) generation: u32,
    /// Known once the process exists: the kernel lists it as a child of ours, or of the intermediate process.
    pub(crate) pid: Option<Pid>,
    /// A handle of the process, until its parent is known to be the supervisor: until then its id may be reused.
    pub(crate) unadopted: Option<Handle>,
    /// It has reported its birth itself.
    pub(crate) born: bool,
    /// The front knows its process, and it was told to serve.
    pub(crate) serves: bool,
    /// `None` once either side has closed it.
    pub(crate) link: Option<Channel<ChildOrder, ChildReport>>,
    pub(crate) since: Duration,
    pub(crate) phase: Phase,
    /// It has been killed or told to exit: its end is expected.
    pub(crate) leaving: bool,
    /// Since when it has been told to drain. `None` before, and once it was killed.
    pub(crate) draining: Option<Duration>,
    /// It was killed because it did not exit in time.
    pub(crate) overdue: bool,
    /// It has reported that it cannot start because the machine lacks a resource.
    pub(crate) is_short: bool,
    /// It is to drain as soon as the pool is complete without it.
    pub(crate) outgoing: bool,
    /// It has reported that it takes no further requests.
    pub(crate) drains: bool,
    /// It has reported that it has answered its maximum of requests.
    pub(crate) spent: bool,
    /// It has reported that it has got SIGTERM.
    pub(crate) terminated: bool,
    /// The number of its unexpected messages.
    pub(crate) unexpected: u8,
    pub(crate) record: Record,
}

/// The lifetime counters of a child.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record {
    /// Requests that the threads of its slot had answered when it was ordered.
    pub(crate) served_before: u64,
    /// Requests that it had answered at the last check, and since when.
    pub(crate) served: (u64, Duration),
    /// Its private memory in bytes, once measured.
    pub(crate) private: Option<u64>,
}

/// The phase of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The order was sent to the mold.
    Ordered,
    /// It is born.
    Starting,
    /// It takes requests.
    Ready,
}

impl Slot {
    /// The child in this slot.
    pub(crate) fn child(&self) -> Option<&Child> {
        match &self.place {
            Place::Taken(child) => Some(child),
            Place::Vacant | Place::Gone(..) => None,
        }
    }

    /// The child in this slot, mutable.
    pub(crate) fn child_mut(&mut self) -> Option<&mut Child> {
        match &mut self.place {
            Place::Taken(child) => Some(child),
            Place::Vacant | Place::Gone(..) => None,
        }
    }

    /// The slot as an input for `pool`; `busy` of its threads have a request.
    pub(crate) fn observed(&self, busy: u16) -> pool::Child {
        match &self.place {
            Place::Vacant => pool::Child::Vacant,
            Place::Gone(..) => pool::Child::Gone,
            Place::Taken(Child {
                draining: Some(since),
                ..
            }) => pool::Child::Draining { since: *since },
            Place::Taken(Child { leaving: true, .. }) => pool::Child::Leaving,
            Place::Taken(Child { outgoing: true, .. }) => pool::Child::Outgoing,
            Place::Taken(Child { phase, since, .. }) => match phase {
                Phase::Ordered => pool::Child::Ordered { since: *since },
                Phase::Starting => pool::Child::Starting { since: *since },
                Phase::Ready => pool::Child::Ready {
                    since: *since,
                    busy,
                },
            },
        }
    }
}

impl Molds {
    /// All molds.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Mold> {
        self.serving.iter().chain(&self.next).chain(&self.former)
    }

    /// All molds, mutable.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Mold> {
        self.serving
            .iter_mut()
            .chain(&mut self.next)
            .chain(&mut self.former)
    }

    /// Removes a mold that was reaped.
    pub(crate) fn take(&mut self, pid: Pid) -> Option<Mold> {
        let is = |mold: &mut Mold| mold.pid == pid;
        let found = self.serving.take_if(is).or_else(|| self.next.take_if(is));
        found.or_else(|| {
            let index = self.former.iter().position(|mold| mold.pid == pid)?;
            Some(self.former.swap_remove(index))
        })
    }
}

impl Mold {
    pub(crate) fn new(
        pid: Pid,
        generation: u32,
        link: Channel<Order, MoldReport>,
        since: Duration,
    ) -> Self {
        Self {
            pid,
            generation,
            link: Some(link),
            since,
            ready: None,
            loads: false,
            leaving: false,
            leave_by: None,
            overdue: false,
            unexpected: 0,
        }
    }

    /// Tells it to exit after the orders that it has, by this deadline.
    pub(crate) fn dismiss(&mut self, leave_by: Duration) {
        self.leave_by = Some(leave_by);
        let is_sent = self
            .link
            .as_ref()
            .is_some_and(|link| link.try_send(Order::Retire).is_ok());
        self.leaving = true;
        // While it loads the application it reads no orders.
        if self.ready.is_none() || !is_sent {
            self.kill();
        }
    }

    /// The mold as an input for `pool`.
    pub(crate) fn observed(mold: Option<&Self>) -> pool::Mold {
        match mold {
            None => pool::Mold::Absent,
            Some(Self { leaving: true, .. }) => pool::Mold::Leaving,
            Some(Self {
                ready: None, since, ..
            }) => pool::Mold::Loading { since: *since },
            Some(Self {
                ready: Some(since), ..
            }) => pool::Mold::Ready { since: *since },
        }
    }

    /// Kills it.
    pub(crate) fn kill(&mut self) {
        (self.leaving, self.leave_by) = (true, None);
        kill_now(self.pid);
    }
}

impl Child {
    /// Its process id, once it has been born.
    pub(crate) fn process(&self) -> Option<u32> {
        let pid = self.pid.filter(|_| self.born)?;
        Some(pid.as_raw().cast_unsigned())
    }

    /// It has been born, and the front has not been informed.
    pub(crate) fn must_be_announced(&self) -> bool {
        self.born && !self.serves
    }

    /// The front knows it, or will from its start: it may take requests. Before, its messages to the front would be
    /// refused as those of an unknown process.
    pub(crate) fn let_serve(&mut self) {
        self.serves = true;
        // The channel is new and has room; if it has ended, so has the child.
        if let Some(link) = &self.link {
            let _ = link.try_send(ChildOrder::Serve);
        }
    }

    /// Kills it at once if it has been born, or as soon as it is.
    pub(crate) fn kill(&mut self) {
        (self.leaving, self.draining) = (true, None);
        self.end_process();
    }

    /// Kills its process; returns whether there is one that has not been reaped.
    pub(crate) fn end_process(&mut self) -> bool {
        let Some(pid) = self.pid else { return false };
        if wait::is_ours(pid) {
            kill_now(pid);
            return true;
        }
        let handle = self.unadopted.as_ref();
        handle.is_some_and(|handle| handle.signal(Some(Signal::SIGKILL)).is_ok())
    }
}
