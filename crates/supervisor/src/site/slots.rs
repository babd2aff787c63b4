//! The processes of the server as the supervisor knows them.

use std::time::Duration;

use exchange::ChildId;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::ipc::channel::Channel;
use crate::ipc::message::{ChildOrder, ChildReport, MoldReport, Order};
use crate::sys::process::{Handle, kill_now};
use crate::sys::wait;

/// The mold.
#[derive(Debug)]
pub(crate) struct Mold {
    pub(crate) pid: Pid,
    pub(crate) generation: u32,
    /// Gone once either side has closed it.
    pub(crate) link: Option<Channel<Order, MoldReport>>,
    pub(crate) since: Duration,
    /// Since when it forks children.
    pub(crate) ready: Option<Duration>,
    /// Code of the application runs in it: how it ends may be the application's doing.
    pub(crate) loads: bool,
    /// It has been killed or told to go: its end is no news.
    pub(crate) leaving: bool,
    /// When it has to have gone, since it was told to.
    pub(crate) leave_by: Option<Duration>,
    /// How often it has said what makes no sense.
    pub(crate) nonsense: u8,
}

/// A process of a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// A mold.
    Mold,
    /// The child in this slot.
    Child(u16),
}

/// The molds of a site that have not been reaped.
#[derive(Debug, Default)]
pub(crate) struct Molds {
    /// That of the generation that serves.
    pub(crate) serving: Option<Mold>,
    /// That of a generation that has not taken over.
    pub(crate) next: Option<Mold>,
    /// Those that have been told to go, or are to go after their last child.
    pub(crate) former: Vec<Mold>,
}

/// A child slot. The number of its present incarnation, or of the last one, outlives it.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    pub(crate) incarnation: u8,
    pub(crate) place: Place,
}

/// Who is in a slot.
#[derive(Debug, Default)]
pub(crate) enum Place {
    /// Nobody.
    #[default]
    Vacant,
    /// A child that has been ordered and not been reaped.
    Taken(Child),
    /// A child that has been reaped, until the front has cleared what it left.
    Gone(ChildId, Delivery),
}

/// Whether the front knows that a child is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// To be told as soon as the line has room, or as there is a front.
    Owed,
    /// Told.
    Sent,
    /// It was so when the front was forked, which clears such slots before it serves.
    Inherited,
}

/// A child.
#[derive(Debug)]
pub(crate) struct Child {
    pub(crate) id: ChildId,
    pub(crate) generation: u32,
    /// Known once it is there: the kernel has shown it to be a child of ours, or one of the process that a mold forks it by.
    pub(crate) pid: Option<Pid>,
    /// The process, as long as its parent is not known to be the supervisor: until then its number may come to be another's.
    pub(crate) unadopted: Option<Handle>,
    /// It has told of its birth itself.
    pub(crate) born: bool,
    /// The front has been told which process it is, and it has been told to serve.
    pub(crate) serves: bool,
    /// Gone once either side has closed it.
    pub(crate) link: Option<Channel<ChildOrder, ChildReport>>,
    pub(crate) since: Duration,
    pub(crate) phase: Phase,
    /// It has been killed or told to go: its end is no news.
    pub(crate) leaving: bool,
    /// Since when it has been told to go. Nothing before that, and once it has been killed.
    pub(crate) draining: Option<Duration>,
    /// It was killed because it did not leave in time.
    pub(crate) overdue: bool,
    /// It has said that it cannot begin for want of something that the machine is short of.
    pub(crate) is_short: bool,
    /// It is to go as soon as the pool is complete without it.
    pub(crate) outgoing: bool,
    /// It has said that it takes no further request.
    pub(crate) drains: bool,
    /// It has said that it has answered as many requests as it may.
    pub(crate) spent: bool,
    /// How often it has said what makes no sense.
    pub(crate) nonsense: u8,
    pub(crate) record: Record,
}

/// What a child has behind it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record {
    /// Requests that the threads of its slot had answered when it was ordered.
    pub(crate) served_before: u64,
    /// Requests that it had answered at the last look, and since when.
    pub(crate) served: (u64, Duration),
    /// Its own memory in bytes, when it has been measured.
    pub(crate) private: Option<u64>,
}

/// How far a child is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The mold has been told.
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

    /// The child in this slot, to be changed.
    pub(crate) fn child_mut(&mut self) -> Option<&mut Child> {
        match &mut self.place {
            Place::Taken(child) => Some(child),
            Place::Vacant | Place::Gone(..) => None,
        }
    }

    /// The slot as the rules see it, with so many of its threads busy.
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
    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Mold> {
        self.serving.iter().chain(&self.next).chain(&self.former)
    }

    /// The same, to be changed.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Mold> {
        self.serving
            .iter_mut()
            .chain(&mut self.next)
            .chain(&mut self.former)
    }

    /// One has been reaped.
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
            nonsense: 0,
        }
    }

    /// Tells it to go when it has carried out what it has been told, and by then.
    pub(crate) fn dismiss(&mut self, leave_by: Duration) {
        self.leave_by = Some(leave_by);
        let told = self
            .link
            .as_ref()
            .is_some_and(|link| link.try_send(Order::Retire).is_ok());
        self.leaving = true;
        // While it loads the application it hears nothing.
        if self.ready.is_none() || !told {
            self.kill();
        }
    }

    /// The mold as the rules see it.
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
    /// The number of its process, once it has been born.
    pub(crate) fn process(&self) -> Option<u32> {
        let pid = self.pid.filter(|_| self.born)?;
        Some(pid.as_raw().cast_unsigned())
    }

    /// It has been born, and the front has not been told.
    pub(crate) fn is_to_be_told_of(&self) -> bool {
        self.born && !self.serves
    }

    /// The front has been told of it, or will know it from its beginning: it may take requests. Before, what it asked the
    /// front for would be refused as a stranger's.
    pub(crate) fn let_serve(&mut self) {
        self.serves = true;
        // The line is new and has room; when it has ended, so has the child.
        if let Some(link) = &self.link {
            let _ = link.try_send(ChildOrder::Serve);
        }
    }

    /// Kills it, if it has been born; if not, as soon as it is.
    pub(crate) fn kill(&mut self) {
        (self.leaving, self.draining) = (true, None);
        self.end_process();
    }

    /// Kills its process, and tells whether there is one that is not reaped.
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
