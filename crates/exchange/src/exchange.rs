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

/// The most bytes of a request's method and of its path that [`InFlight`] holds.
const MAX_TEXT: usize = 512;

/// The mapping and the descriptors that belong to it. Made once, before the first fork; every process that is forked
/// later inherits it.
#[derive(Debug)]
pub struct Exchange {
    pub(crate) mapping: Mapping,
    pub(crate) fd_channel: FdChannel,
    geometry: Geometry,
    pub(crate) doorbell: Doorbell,
    /// The application of this process has closed the server's descriptors: the front cannot be woken any more.
    has_lost_descriptors: AtomicBool,
    /// The front's ends. Molds and children close them: a process that shares the open file could make it blocking, and the
    /// front would hang in it.
    front: Mutex<Option<FrontEnds>>,
}

#[derive(Debug)]
struct FrontEnds {
    doorbell_reader: OwnedFd,
    fd_channel: OwnedFd,
}

impl Exchange {
    /// Makes an empty exchange.
    ///
    /// # Errors
    /// When the geometry is impossible, or the kernel has no memory or descriptors left.
    pub fn create(geometry: Geometry) -> io::Result<Self> {
        let mapping = Mapping::create(geometry)?;
        let (doorbell, doorbell_reader) = Doorbell::open()?;
        let (children, fd_channel) = FdChannel::open()?;
        Ok(Self {
            mapping,
            geometry,
            doorbell,
            has_lost_descriptors: AtomicBool::new(false),
            fd_channel: children,
            front: Mutex::new(Some(FrontEnds {
                doorbell_reader,
                fd_channel,
            })),
        })
    }

    /// The sizes that the exchange was made with.
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
        let of_front = front
            .iter()
            .flat_map(|ends| [&ends.doorbell_reader, &ends.fd_channel]);
        let of_front = of_front.map(AsRawFd::as_raw_fd);
        let of_all = [self.doorbell.get(), self.fd_channel.children.get()].into_iter();
        let of_all = of_all.filter_map(|end| Some(end.ok()?.as_raw_fd()));
        of_front.chain(of_all).collect()
    }

    /// Closes the front's ends, in a process that becomes a mold.
    pub fn leave_front(&self) {
        self.front().take();
    }

    fn front(&self) -> MutexGuard<'_, Option<FrontEnds>> {
        // A panic cannot leave the value half changed: it is only taken as a whole.
        self.front.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A pipe that becomes readable when a thread has published an answer while the front is parked. Its bytes mean nothing.
    ///
    /// # Errors
    /// In a process that has [left it](Self::leave_front), or has too many descriptors.
    pub fn doorbell(&self) -> io::Result<OwnedFd> {
        let front = self.front();
        front
            .as_ref()
            .ok_or_else(not_the_front)?
            .doorbell_reader
            .try_clone()
    }

    /// Wakes the front if it is parked. To be called after publishing.
    pub(crate) fn wake_front(&self) {
        // When it cannot be woken, it reads the answer when this process has been reaped.
        if self.mapping.header().front.mark_unparked() && self.doorbell.ring().is_err() {
            self.has_lost_descriptors.store(true, Relaxed);
        }
    }

    /// Whether the application of this process has closed the server's descriptors, as code does that closes every
    /// descriptor it did not open. The process must end: it can neither wake the front, nor fetch a body, nor send a file.
    /// Checked when one of them is needed, and before a thread parks.
    #[must_use]
    pub fn has_lost_descriptors(&self) -> bool {
        self.has_lost_descriptors.load(Relaxed)
    }

    /// Checks whether the descriptors are still those of the server.
    pub fn check_descriptors(&self) {
        if self.doorbell.get().is_err() || self.fd_channel.children.get().is_err() {
            self.has_lost_descriptors.store(true, Relaxed);
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

    /// The next message; `None` for a malformed one.
    ///
    /// # Errors
    /// `WouldBlock` when there is none.
    pub(crate) fn fd_message(&self) -> io::Result<Option<FdMessage>> {
        let front = self.front();
        FdChannel::next(front.as_ref().ok_or_else(not_the_front)?.fd_channel.as_fd())
    }

    /// The requests that the child's threads have taken and not yet answered, two for each thread at most: one that runs,
    /// and one of which the front still has to read the answer. A child that writes wild claims is not listed with more. A
    /// long path is cut.
    #[must_use]
    pub fn in_flight(&self, child: ChildId) -> Vec<InFlight> {
        let most = 2 * usize::from(self.geometry.threads);
        let mut bytes = Vec::new();
        let mut found = Vec::new();
        for (slot, state) in (0..).zip(self.mapping.states()) {
            if found.len() == most {
                break;
            }
            let SlotState::Claimed(owner, seq) = state.read() else {
                continue;
            };
            if owner.child != child || store::read(&self.mapping, slot, &mut bytes).is_err() {
                continue;
            }
            let Ok(request) = Request::decode(&bytes) else {
                continue;
            };
            let text = |bytes: &[u8]| {
                String::from_utf8_lossy(&bytes[..bytes.len().min(MAX_TEXT)]).into_owned()
            };
            let (method, path) = (text(request.method), text(request.path));
            let index = self.thread_index(child.slot, owner.thread);
            // A claim that was overwritten may name a thread that does not exist.
            let place = self.mapping.threads().get(index);
            let since = place.map_or(0, |place| place.since.load(Relaxed));
            // A thread claims first and writes the time afterwards.
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
        let (entries, states) = (self.mapping.entries(), self.mapping.states());
        Queue {
            head: &header.head,
            tail: &header.tail,
            entries,
            states,
        }
    }

    /// The index of a thread in the tables.
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

    /// Wakes a parked thread that may take a request: of the child with the fewest unparked ones the thread with the lowest
    /// number. To be called after publishing.
    pub(crate) fn wake_a_thread(&self) -> bool {
        // Another process may wake the chosen thread first. The number of attempts is bounded, since a process that
        // overwrites parkers could make this loop endless.
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
                if census.unparked == 0 {
                    return Some((slot, thread));
                }
                if best.is_none_or(|(fewest, ..)| census.unparked < fewest) {
                    best = Some((census.unparked, slot, thread));
                }
            }
        }
        best.map(|(_, slot, thread)| (slot, thread))
    }

    pub(crate) fn wake(&self, child: u16, thread: usize) -> bool {
        let first = self.thread_index(child, 0);
        self.mapping.threads()[first + thread].parker.unpark()
    }

    /// Wakes the governors of children with parked threads: requests wait, and no parked thread may take one.
    pub(crate) fn wake_governors(&self) {
        for (slot, place) in (0..).zip(self.scoreboard().children()) {
            if place.governor.is_parked() && place.limit.census(self.parkers(slot)).has_parked {
                place.governor.unpark();
            }
        }
    }
}

fn not_the_front() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "this process is not the front")
}
