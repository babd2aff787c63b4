//! What the streams of a connection are about, so that the connection knows how long it may stay so.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::Settings;
use crate::net::Patience;
use crate::timing::{Phase, Verdict};

/// The streams of one connection.
#[derive(Debug)]
pub(super) struct Streams {
    /// What the connection is about while no stream is open.
    phase: Cell<Phase>,
    /// How many have been opened so far.
    opened: Cell<u64>,
    open: Cell<usize>,
    /// Until when each of those that wait for their client does so.
    waiting: RefCell<BTreeMap<u64, Instant>>,
}

/// One that is open, until this is dropped.
#[derive(Debug)]
pub(super) struct OpenStream {
    streams: Rc<Streams>,
    number: u64,
    now: Instant,
    /// How long the client has been waited for before the last piece, and the bytes of all pieces.
    waited: Duration,
    given: u64,
}

impl Streams {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            phase: Cell::new(Phase::First(now)),
            opened: Cell::new(0),
            open: Cell::new(0),
            waiting: RefCell::default(),
        }
    }

    /// Notes one more.
    pub(super) fn open(self: &Rc<Self>, now: Instant) -> OpenStream {
        let number = self.opened.get();
        self.opened.set(number + 1);
        self.open.set(self.open.get() + 1);
        OpenStream {
            streams: Rc::clone(self),
            number,
            now,
            waited: Duration::ZERO,
            given: 0,
        }
    }

    /// Whether there has been any.
    pub(super) fn has_opened(&self) -> bool {
        self.opened.get() > 0
    }

    /// What is to become of the connection.
    pub(super) fn verdict(
        &self,
        drain_since: Option<Instant>,
        settings: &Settings,
        now: Instant,
    ) -> Verdict {
        if self.open.get() == 0 {
            return Verdict::of(self.phase.get(), None, drain_since, settings, now);
        }
        match self.waiting.borrow().values().min() {
            None => Verdict::Until(None),
            Some(&deadline) if deadline <= now => Verdict::Gone,
            Some(&deadline) => Verdict::Until(Some(deadline)),
        }
    }
}

impl OpenStream {
    /// The client has a piece of so many bytes to take before it is given the next.
    pub(super) fn wait_for_client(&mut self, bytes: usize, patience: Patience, now: Instant) {
        let left = patience.left(self.waited, self.given).unwrap_or_default();
        self.now = now;
        self.given += bytes as u64;
        let deadline = now + left;
        self.streams
            .waiting
            .borrow_mut()
            .insert(self.number, deadline);
    }

    /// It has taken it.
    pub(super) fn go_on(&mut self, now: Instant) {
        if self
            .streams
            .waiting
            .borrow_mut()
            .remove(&self.number)
            .is_some()
        {
            self.waited += now - self.now;
        }
        self.now = now;
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.streams.waiting.borrow_mut().remove(&self.number);
        let left = self.streams.open.get() - 1;
        self.streams.open.set(left);
        if left == 0 {
            self.streams.phase.set(Phase::Idle(self.now));
        }
    }
}
