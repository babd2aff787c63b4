//! A thread's side: it takes requests and writes their answers.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::exchange::Exchange;
use crate::ids::{ChildId, Owner, RequestId};
use crate::parker::store_load_fence;

use crate::codec::{Head, Malformed, Request};
use crate::original::Original;
use crate::places::RING;
use crate::reply::{After, Extent, Gone, Reply};
use crate::ring::{self, Frame, MAX_HEAD, MAX_PAYLOAD};
use crate::store;
use crate::sync::{AtomicBool, Ordering, now};

/// One application thread's end of the exchange.
#[derive(Debug)]
pub struct Worker {
    exchange: Arc<Exchange>,
    owner: Owner,
    /// Index of the thread in the tables.
    index: usize,
    /// The process that the worker was made in. A copy that the application has forked must not use it.
    original: Original,
    /// Bytes that the thread has written into its ring. The value in the shared memory is only written, for the front.
    written: u64,
    /// Buffers for requests and heads, reused.
    request: Vec<u8>,
    head: Vec<u8>,
}

/// A request that this thread has taken, to be [opened](Worker::open).
#[derive(Debug)]
#[must_use = "a request that is not opened is never answered"]
pub struct Taken(RequestId);

/// A request that this thread has taken, and its answer.
///
/// When it is dropped without a last part, the answer is sent as broken off, so that each request has an end.
#[derive(Debug)]
pub struct Claim<'s> {
    request: Vec<u8>,
    answer: Answer<'s>,
}

/// Sends the answer of a claimed request.
#[derive(Debug)]
pub struct Answer<'s> {
    worker: &'s mut Worker,
    request_id: RequestId,
    ended: bool,
}

impl Worker {
    /// The worker of this thread of this child, whose process is `original`. To be made once for each incarnation.
    #[must_use]
    pub fn new(exchange: Arc<Exchange>, child: ChildId, thread: u8, original: Original) -> Self {
        Self {
            index: exchange.thread_index(child.slot, thread),
            exchange,
            owner: Owner { child, thread },
            original,
            // The front has reset the ring when the former incarnation of the slot had ended.
            written: 0,
            request: Vec::new(),
            head: Vec::new(),
        }
    }

    /// Waits for a request and takes it; `None` once `stop` is set and [`wake_child`] has been called, or once this process has
    /// to end: the application has closed descriptors of the server's, or the process is a copy that it has forked.
    pub fn take(&mut self, stop: &AtomicBool) -> Option<Claim<'_>> {
        let taken = self.wait(stop, &|| ())?;
        Some(self.open(taken))
    }

    /// The first half of [`Worker::take`], for a thread that releases something while it waits, as the GIL. `interrupted` is
    /// called when a signal has been handled meanwhile, and there is no request.
    pub fn wait(&self, stop: &AtomicBool, interrupted: &dyn Fn()) -> Option<Taken> {
        let mut signalled = false;
        loop {
            if self.is_copied() {
                return None;
            }
            if stop.load(Ordering::Acquire) {
                self.pass_wake_up_on();
                return None;
            }
            if let Some(taken) = self.claim(stop) {
                return Some(taken);
            }
            if std::mem::take(&mut signalled) {
                interrupted();
                // Requests may have come meanwhile.
                continue;
            }
            if !self.is_published() {
                self.publish();
            }
            let held_back = !self.exchange.queue().is_empty() && !self.may_take();
            if held_back {
                self.wake_another();
            }
            // Checked before parking, or an idle child might never find out: the doorbell is not needed while the front runs.
            self.exchange.check_descriptors();
            if self.exchange.has_lost_descriptors() {
                self.pass_wake_up_on();
                // Wakes the other threads, which find the same.
                wake_child(&self.exchange, self.owner.child);
                return None;
            }
            let parker = &self.exchange.mapping.threads()[self.index].parker;
            signalled = parker.park_until_signal_unless(|| {
                stop.load(Ordering::Acquire)
                    // For a request that has come since then another thread has to be woken, too.
                    || (!self.exchange.queue().is_empty() && (!held_back || self.may_take()))
                    || !self.is_published()
            });
        }
    }

    /// Whether the application has forked this process, and it has returned into the server's code.
    fn is_copied(&self) -> bool {
        self.original.is_elsewhere()
    }

    /// Whether the shared memory has the position up to which the ring is written. Another process may have overwritten it.
    fn is_published(&self) -> bool {
        let place = &self.exchange.mapping.threads()[self.index];
        place.written.load(Ordering::Relaxed) == self.written
    }

    /// Publishes how far the ring has been written, and wakes the front if it is parked.
    fn publish(&self) {
        let mapping = &self.exchange.mapping;
        let place = &mapping.threads()[self.index];
        place.written.store(self.written, Ordering::Release);
        mapping.dirty()[self.index / 64].fetch_or(1 << (self.index % 64), Ordering::AcqRel);
        store_load_fence();
        self.exchange.wake_front();
    }

    fn may_take(&self) -> bool {
        self.exchange
            .admits(self.owner.child.slot, self.owner.thread)
    }

    /// Requests wait, and this thread may not take them: it may have been woken before the limit was lowered. Wakes another
    /// thread in its place, or where none may take a request, the child's governor.
    fn wake_another(&self) {
        store_load_fence();
        if !self.exchange.wake_a_thread() {
            self.exchange
                .scoreboard()
                .child(self.owner.child.slot)
                .governor
                .unpark();
        }
    }

    /// Takes a request if one waits, without parking.
    pub fn poll(&self, stop: &AtomicBool) -> Option<Taken> {
        if self.is_copied() {
            return None;
        }
        self.claim(stop)
    }

    /// [`Worker::poll`] in a process that is known to be no copy.
    fn claim(&self, stop: &AtomicBool) -> Option<Taken> {
        if stop.load(Ordering::Acquire) || !self.may_take() {
            return None;
        }
        let taken = self.exchange.queue().claim(self.owner).map(Taken)?;
        self.begin();
        Some(taken)
    }

    /// Notes when the request was taken. The governor is woken when a second thread runs, to find out whether that helps.
    fn begin(&self) {
        let place = &self.exchange.mapping.threads()[self.index];
        place.since.store(now(), Ordering::Relaxed);
        if self.owner.thread > 0 {
            self.exchange
                .scoreboard()
                .child(self.owner.child.slot)
                .governor
                .unpark();
        }
    }

    /// Whether the child has no other application threads.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        self.exchange.geometry().threads == 1
    }

    /// The second half of [`Worker::take`]: reads a request that has been taken.
    pub fn open(&mut self, Taken(request_id): Taken) -> Claim<'_> {
        let mut request = std::mem::take(&mut self.request);
        if store::read(&self.exchange.mapping, request_id.slot, &mut request).is_err() {
            request.clear();
        }
        Claim {
            request,
            answer: Answer {
                worker: self,
                request_id,
                ended: false,
            },
        }
    }

    /// Wakes another thread while requests wait: this one may have been woken for them, and will not take them.
    fn pass_wake_up_on(&self) {
        store_load_fence();
        if !self.exchange.queue().is_empty() {
            self.exchange.wake_a_thread();
        }
    }
}

/// Wakes the parked threads of this child, and its governor, so that they see that they are to stop.
pub fn wake_child(exchange: &Exchange, child: ChildId) {
    store_load_fence();
    for parker in exchange.parkers(child.slot) {
        parker.unpark();
    }
    exchange.scoreboard().child(child.slot).governor.unpark();
}

impl<'s> Claim<'s> {
    /// The request, and its answer.
    ///
    /// # Errors
    /// When the slot holds no valid request.
    pub fn split(&mut self) -> Result<(Request<'_>, &mut Answer<'s>), Malformed> {
        Ok((Request::decode(&self.request)?, &mut self.answer))
    }
}

impl Answer<'_> {
    /// Fills `body` with the bytes of [`crate::Body::Apart`], of which there are as many.
    ///
    /// # Errors
    /// When the exchange holds no such body.
    pub fn body(&self, body: &mut [u8]) -> Result<(), Malformed> {
        store::read_body(&self.worker.exchange.mapping, self.request_id.slot, body)
    }

    /// The file that holds the body, when the request says that one does.
    ///
    /// # Errors
    /// When the front no longer has it.
    pub fn body_file(&self) -> io::Result<OwnedFd> {
        if self.worker.is_copied() {
            return Err(io::ErrorKind::NotFound.into());
        }
        let file = self.worker.exchange.fd_channel.fetch(self.request_id);
        file.inspect_err(|_| self.worker.exchange.check_descriptors())
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if self.answer.worker.is_copied() {
            return;
        }
        if !self.answer.ended {
            // An error means that the answer is not wanted any more, which is an end, too.
            let _ = self.answer.send(None, &[], After::Broken);
        }
        let place = &self.answer.worker.exchange.mapping.threads()[self.answer.worker.index];
        let served = place.served.load(Ordering::Relaxed).wrapping_add(1);
        place.served.store(served, Ordering::Relaxed);
        let since = place.since.load(Ordering::Relaxed);
        place.since.store(0, Ordering::Relaxed);
        if !self.answer.worker.is_alone() {
            let lasted = now().saturating_sub(since);
            place.lasted.store(lasted, Ordering::Relaxed);
        }
        self.answer.worker.request = std::mem::take(&mut self.request);
    }
}

impl Reply for Answer<'_> {
    fn fits(&self, bytes: usize) -> bool {
        // Each MAX_PAYLOAD bytes take one more frame.
        self.free() >= Frame::size(bytes) + bytes / MAX_PAYLOAD * Frame::size(0)
    }

    fn send(&mut self, head: Option<&Head<'_>>, data: &[u8], after: After) -> Result<(), Gone> {
        let mut encoded = std::mem::take(&mut self.worker.head);
        encoded.clear();
        if let Some(head) = head {
            head.encode(&mut encoded);
        }
        let sent = if encoded.len() > MAX_HEAD {
            self.frame(&[], &[], After::Broken)
        } else {
            self.frames(&encoded, data, after)
        };
        self.worker.head = encoded;
        sent
    }

    fn send_file(&mut self, head: Option<&Head<'_>>, extent: Extent) -> Result<(), Gone> {
        if self.worker.is_copied() {
            return Err(Gone);
        }
        let exchange = &self.worker.exchange;
        let given = self.ended
            || exchange
                .fd_channel
                .give(self.request_id, &extent)
                .inspect_err(|_| exchange.check_descriptors())
                .is_ok();
        // Without the file the answer cannot be completed.
        let after = if given { After::File } else { After::Broken };
        self.send(head, &[], after)
    }
}

impl Answer<'_> {
    fn frames(&mut self, head: &[u8], data: &[u8], after: After) -> Result<(), Gone> {
        let (first, mut rest) = data.split_at(data.len().min(MAX_PAYLOAD - head.len()));
        self.frame(
            head,
            first,
            if rest.is_empty() { after } else { After::More },
        )?;
        while !rest.is_empty() {
            let (next, remaining) = rest.split_at(rest.len().min(MAX_PAYLOAD));
            self.frame(
                &[],
                next,
                if remaining.is_empty() {
                    after
                } else {
                    After::More
                },
            )?;
            rest = remaining;
        }
        Ok(())
    }

    /// Writes one frame as soon as there is room, and wakes the front if it is parked.
    fn frame(&mut self, head: &[u8], data: &[u8], after: After) -> Result<(), Gone> {
        // Only the process that has taken the request may answer it.
        if self.ended || self.worker.is_copied() {
            return Err(Gone);
        }
        self.wait_for(Frame::size(head.len() + data.len()));
        let mapping = &self.worker.exchange.mapping;
        let gone = self.given_up();
        // Of an answer that is not wanted only the end is written, by which the front frees the slot.
        let (head, data, after) = if gone {
            (&[][..], &[][..], After::Broken)
        } else {
            (head, data, after)
        };
        let frame = Frame {
            request_id: self.request_id,
            head: head.len(),
            data: data.len(),
            after,
        };
        let ring = mapping.ring(self.worker.index);
        let size = ring::write(ring, self.worker.written, frame, head, data);
        self.ended = after != After::More;
        self.worker.written = self.worker.written.wrapping_add(size as u64);
        self.worker.publish();
        if gone { Err(Gone) } else { Ok(()) }
    }

    /// Waits until the ring has room for so many bytes.
    fn wait_for(&self, size: usize) {
        let place = &self.worker.exchange.mapping.threads()[self.worker.index];
        while self.free() < size {
            // Makes the front read the ring, and correct its position should that have been overwritten.
            self.worker.publish();
            place.room.park_unless(|| self.free() >= size);
        }
    }

    fn given_up(&self) -> bool {
        let place = &self.worker.exchange.mapping.slots()[self.request_id.slot as usize];
        place.given_up.load(Ordering::Acquire) == self.request_id.seq
    }

    fn free(&self) -> usize {
        let place = &self.worker.exchange.mapping.threads()[self.worker.index];
        let read = place.read.load(Ordering::Acquire);
        let unread = self.worker.written.wrapping_sub(read);
        RING.saturating_sub(usize::try_from(unread).unwrap_or(RING))
    }
}
