//! The exchange as a whole.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::codec::Request;
use crate::doorbell::Doorbell;
use crate::fd_channel::{FdChannel, FdMessage};
use crate::ids::ChildId;
use crate::layout::Mapping;
use crate::parker::Parker;
use crate::places::Geometry;
use crate::queue::Queue;
use crate::scoreboard::{InFlight, Scoreboard};
use crate::slot_state::SlotState;
use crate::store;
use crate::sync::now;

/// Bytes of a request's method and of its path that are told of a request in flight.
const LONGEST_TOLD: usize = 512;

/// The mapping and the descriptors that belong to it. Made once, before anything is forked; every process that is
/// forked later has it.
#[derive(Debug)]
pub struct Exchange {
    pub(crate) mapping: Mapping,
    pub(crate) fd_channel: FdChannel,
    geometry: Geometry,
    pub(crate) bell: Doorbell,
    /// The application of this process has closed what it does not know: the front cannot be woken any more.
    is_cut_off: AtomicBool,
    /// What is the front's alone. No mold and no child has it: who has the same open file could have the front wait in it.
    front: Mutex<Option<FrontEnds>>,
}

#[derive(Debug)]
struct FrontEnds {
    ear: OwnedFd,
    fd_channel: OwnedFd,
}

impl Exchange {
    /// Makes an empty exchange.
    ///
    /// # Errors
    /// When the geometry is impossible, or the kernel has no memory or descriptors left.
    pub fn create(geometry: Geometry) -> io::Result<Self> {
        let mapping = Mapping::create(geometry)?;
        let (bell, ear) = Doorbell::open()?;
        let (children, fd_channel) = FdChannel::open()?;
        Ok(Self {
            mapping,
            geometry,
            bell,
            is_cut_off: AtomicBool::new(false),
            fd_channel: children,
            front: Mutex::new(Some(FrontEnds { ear, fd_channel })),
        })
    }

    /// What the exchange was made for.
    #[must_use]
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// The scoreboard.
    #[must_use]
    pub fn scoreboard(&self) -> Scoreboard<'_> {
        Scoreboard::new(&self.mapping, self.geometry.threads)
    }

    /// The descriptors that a process of the server keeps open.
    #[must_use]
    pub fn descriptors(&self) -> Vec<RawFd> {
        let front = self.front();
        let of_front = front.iter().flat_map(|ends| [&ends.ear, &ends.fd_channel]);
        let of_front = of_front.map(AsRawFd::as_raw_fd);
        let of_all = [self.bell.get(), self.fd_channel.children.get()].into_iter();
        let of_all = of_all.filter_map(|end| Some(end.ok()?.as_raw_fd()));
        of_front.chain(of_all).collect()
    }

    /// Closes what is the front's, in a process that becomes a mold.
    pub fn leave_front(&self) {
        self.front().take();
    }

    fn front(&self) -> MutexGuard<'_, Option<FrontEnds>> {
        // Nothing in here can be left half done.
        self.front.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A pipe that is readable when a child has something for a front that sleeps; what it holds means nothing.
    ///
    /// # Errors
    /// In a process that has [left it](Self::leave_front), or has too many descriptors.
    pub fn doorbell(&self) -> io::Result<OwnedFd> {
        let front = self.front();
        front.as_ref().ok_or_else(not_the_front)?.ear.try_clone()
    }

    /// Wakes the front, unless it is awake. What it is to see has been published.
    pub(crate) fn wake_front(&self) {
        // When it cannot be woken, it hears of the answer when this process has ended.
        if self.mapping.header().front.mark_awake() && self.bell.ring().is_err() {
            self.is_cut_off.store(true, Relaxed);
        }
    }

    /// Whether the application of this process has closed the server's descriptors, as code does that closes all it does
    /// not know. The process is to leave: neither can it wake the front, nor ask for a body or give a file. It is found when
    /// one of them is needed, and before a thread sleeps.
    #[must_use]
    pub fn is_cut_off(&self) -> bool {
        self.is_cut_off.load(Relaxed)
    }

    /// Looks whether it has.
    pub fn look_for_descriptors(&self) {
        if self.bell.get().is_err() || self.fd_channel.children.get().is_err() {
            self.is_cut_off.store(true, Relaxed);
        }
    }

    /// Readable when a thread has sent a message with a descriptor.
    ///
    /// # Errors
    /// As [`Self::doorbell`].
    pub fn fd_channel(&self) -> io::Result<OwnedFd> {
        let front = self.front();
        front
            .as_ref()
            .ok_or_else(not_the_front)?
            .fd_channel
            .try_clone()
    }

    /// The next message; `None` for one that no thread of ours sends.
    ///
    /// # Errors
    /// `WouldBlock` when there is none.
    pub(crate) fn fd_message(&self) -> io::Result<Option<FdMessage>> {
        let front = self.front();
        FdChannel::next(front.as_ref().ok_or_else(not_the_front)?.fd_channel.as_fd())
    }

    /// The requests that the child's threads have taken and not yet answered, two for each thread at most: one that runs,
    /// and one of which the front still has to read the answer. A child may have signed any number of others. Of a long
    /// path the beginning is told.
    #[must_use]
    pub fn in_flight(&self, child: ChildId) -> Vec<InFlight> {
        let most = 2 * usize::from(self.geometry.threads);
        let mut bytes = Vec::new();
        let mut found = Vec::new();
        for (slot, word) in (0..).zip(self.mapping.words()) {
            if found.len() == most {
                break;
            }
            let SlotState::Claimed(owner, seq) = word.read() else {
                continue;
            };
            if owner.child != child || store::read(&self.mapping, slot, &mut bytes).is_err() {
                continue;
            }
            let Ok(request) = Request::decode(&bytes) else {
                continue;
            };
            let text = |bytes: &[u8]| {
                String::from_utf8_lossy(&bytes[..bytes.len().min(LONGEST_TOLD)]).into_owned()
            };
            let (method, path) = (text(request.method), text(request.path));
            let index = self.thread_index(child.slot, owner.thread);
            // The word may be one that no thread of ours writes.
            let place = self.mapping.threads().get(index);
            let since = place.map_or(0, |place| place.since.load(Relaxed));
            // It has been claimed, and the time is written down in a moment.
            let running = if since == 0 {
                0
            } else {
                now().saturating_sub(since)
            };
            found.push(InFlight {
                child,
                thread: owner.thread,
                request_id: crate::RequestId { slot, seq },
                method,
                path,
                running: Duration::from_nanos(running),
            });
        }
        found
    }

    pub(crate) fn queue(&self) -> Queue<'_> {
        let header = self.mapping.header();
        let (entries, words) = (self.mapping.entries(), self.mapping.words());
        Queue {
            head: &header.head,
            tail: &header.tail,
            entries,
            words,
        }
    }

    /// Where a thread stands in the tables.
    pub(crate) fn thread_index(&self, child: u16, thread: u8) -> usize {
        usize::from(child) * usize::from(self.geometry.threads) + usize::from(thread)
    }

    /// The parkers of a child's threads.
    pub(crate) fn parkers(&self, child: u16) -> impl Iterator<Item = &Parker> {
        let first = self.thread_index(child, 0);
        let threads = &self.mapping.threads()[first..first + usize::from(self.geometry.threads)];
        threads.iter().map(|thread| &thread.parker)
    }

    /// Whether this thread may take a request.
    pub(crate) fn admits(&self, child: u16, thread: u8) -> bool {
        let limit = &self.scoreboard().child(child).limit;
        limit.admits(usize::from(thread), self.parkers(child))
    }

    /// Wakes a thread that sleeps and may take a request, of the child with the fewest that are awake, and within the
    /// child one that ran last. What it is to see has been published.
    pub(crate) fn wake_a_thread(&self) -> bool {
        // Another process may wake the thread first, which happens at most once for each thread: a thread that seems to
        // sleep more often than that is one whose parker is being overwritten.
        for _ in self.mapping.threads() {
            let Some((child, thread)) = self.next_thread() else {
                return false;
            };
            if self.wake(child, thread) {
                return true;
            }
        }
        false
    }

    fn next_thread(&self) -> Option<(u16, usize)> {
        let mut best: Option<(u32, u16, usize)> = None;
        for (slot, place) in (0..).zip(self.scoreboard().children()) {
            let census = place.limit.census(self.parkers(slot));
            if let Some(thread) = census.next {
                if census.awake == 0 {
                    return Some((slot, thread));
                }
                if best.is_none_or(|(awake, ..)| census.awake < awake) {
                    best = Some((census.awake, slot, thread));
                }
            }
        }
        best.map(|(_, slot, thread)| (slot, thread))
    }

    pub(crate) fn wake(&self, child: u16, thread: usize) -> bool {
        let first = self.thread_index(child, 0);
        self.mapping.threads()[first + thread].parker.unpark()
    }

    /// Has the children's limits looked at: requests wait, and threads sleep that may not take them.
    pub(crate) fn wake_governors(&self) {
        for (slot, place) in (0..).zip(self.scoreboard().children()) {
            if place.governor.is_parked() && place.limit.census(self.parkers(slot)).sleeps {
                place.governor.unpark();
            }
        }
    }
}

fn not_the_front() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "this process is not the front")
}
