//! The requests that wait for responses.

use std::cell::RefCell;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use exchange::notice::FromFront;
use exchange::{After, ChildId, Extent, Part, Refused, RequestId, Sink, WantedBody, Wish};
use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::{debug, warn};

use super::buffer::{Buffer, End};
use crate::context::Context;
use crate::disk::DiskFile;

/// The supervisor, as the front uses it.
pub(crate) trait Supervisor {
    /// Sends a message.
    fn tell(&self, message: FromFront);

    /// Reads the births that the supervisor has reported, without waiting; other messages are kept for later.
    fn births(&self) -> Vec<(ChildId, u32)>;
}

/// The offered requests, by slot.
pub(super) struct Waiting {
    waiters: Vec<Option<Waiter>>,
    context: Rc<Context>,
    supervisor: Rc<dyn Supervisor>,
    /// Buffers with something to be written into a file, and the notification for the task that writes.
    pub(super) overflowing: Vec<Rc<RefCell<Buffer>>>,
    overflow: Rc<Notify>,
    /// The number of refused messages.
    refused: u64,
}

pub(super) struct Waiter {
    request_id: RequestId,
    buffer: Rc<RefCell<Buffer>>,
    /// Since when it waits for a thread, as far as is known.
    queued_since: Option<Instant>,
    /// The file that holds the request's body, until a thread asks for it.
    pub(super) body: Option<Arc<DiskFile>>,
}

impl Waiter {
    pub(super) fn new(request_id: RequestId, buffer: Rc<RefCell<Buffer>>, now: Instant) -> Self {
        Self {
            request_id,
            buffer,
            queued_since: Some(now),
            body: None,
        }
    }
}

impl Waiting {
    pub(super) fn new(
        context: Rc<Context>,
        supervisor: Rc<dyn Supervisor>,
        overflow: Rc<Notify>,
    ) -> Self {
        Self {
            waiters: Vec::new(),
            context,
            supervisor,
            overflowing: Vec::new(),
            overflow,
            refused: 0,
        }
    }

    pub(super) fn enter(&mut self, request_id: RequestId, waiter: Waiter) {
        let slot = request_id.slot as usize;
        if self.waiters.len() <= slot {
            self.waiters.resize_with(slot + 1, || None);
        }
        self.waiters[slot] = Some(waiter);
    }

    pub(super) fn get(&mut self, request_id: RequestId) -> Option<&mut Waiter> {
        let waiter = self.waiters.get_mut(request_id.slot as usize)?.as_mut()?;
        (waiter.request_id.seq == request_id.seq).then_some(waiter)
    }

    pub(super) fn leave(&mut self, request_id: RequestId) {
        if self.get(request_id).is_some() {
            self.waiters[request_id.slot as usize] = None;
        }
    }

    /// The requests that have been in the queue for `timeout`, each returned once; `next` is set to the time when
    /// the next one will have been.
    pub(super) fn overdue(
        &mut self,
        now: Instant,
        timeout: Duration,
        next: &mut Option<Instant>,
    ) -> Vec<RequestId> {
        let mut overdue = Vec::new();
        for waiter in self.waiters.iter_mut().flatten() {
            let Some(since) = waiter.queued_since else {
                continue;
            };
            let due = since + timeout;
            if due <= now {
                waiter.queued_since = None;
                overdue.push(waiter.request_id);
            } else if next.is_none_or(|next| due < next) {
                *next = Some(due);
            }
        }
        overdue
    }

    /// Ends this request.
    pub(super) fn end(&mut self, request_id: RequestId, end: End) {
        if let Some(waiter) = self.get(request_id) {
            let mut buffer = waiter.buffer.borrow_mut();
            buffer.end = Some(end);
            let waker = buffer.waker.take();
            drop(buffer);
            self.leave(request_id);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

impl Sink for Waiting {
    fn wish(&mut self, request_id: RequestId) -> Wish {
        let (has_backlog, is_full) = (self.context.has_backlog(), self.context.is_full());
        match self.get(request_id) {
            Some(waiter) if waiter.buffer.borrow().must_wait(has_backlog) => {
                if is_full {
                    Wish::Nothing
                } else {
                    Wish::Later
                }
            }
            _ => Wish::More,
        }
    }

    fn part(&mut self, request_id: RequestId, part: Part) {
        let Some(waiter) = self.get(request_id) else {
            return;
        };
        waiter.queued_since = None;
        let buffer = Rc::clone(&waiter.buffer);
        let is_last = part.after != After::More;
        let needs_write = buffer.borrow_mut().push(part);
        if needs_write {
            self.overflowing.push(Rc::clone(&buffer));
            self.overflow.notify_one();
        }
        if is_last {
            self.end(request_id, End::Complete);
        } else {
            let waker = buffer.borrow_mut().waker.take();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    fn lost(&mut self, request_id: RequestId) {
        self.end(request_id, End::Lost);
    }

    fn body_wanted(&mut self, wanted: WantedBody) {
        let file = self
            .get(wanted.request_id)
            .and_then(|waiter| waiter.body.take());
        // Without a file, dropping `wanted` tells the thread so.
        let Some(file) = file else { return };
        if let Err(error) = wanted.give(file.as_fd()) {
            debug!(%error, "the thread that asked for a body is gone");
        }
    }

    fn file_given(&mut self, request_id: RequestId, extent: Extent) {
        // If the request has been given up, the file is closed.
        if let Some(waiter) = self.get(request_id) {
            waiter.buffer.borrow_mut().extent = Some(extent);
        }
    }

    fn births(&mut self) -> Vec<(ChildId, u32)> {
        self.supervisor.births()
    }

    fn refused(&mut self, refused: Refused) {
        self.refused += 1;
        // Reported the first time and at each doubling.
        if self.refused.is_power_of_two() {
            let (child, pid, times) = (slot(refused.child), refused.process, self.refused);
            warn!(
                child,
                pid,
                owner = slot(refused.owner),
                times,
                "asked for the body of a request, or gave a file for the answer, that another process has: refused"
            );
        }
    }
}

fn slot(child: Option<ChildId>) -> Option<u16> {
    child.map(|child| child.slot)
}
