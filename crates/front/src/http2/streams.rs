//! What the streams of a connection are about, so that the connection knows how long it may stay so.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use tokio::time::Instant;

use crate::config::Settings;
use crate::timing::{Phase, Verdict};

/// The streams of one connection.
#[derive(Debug)]
pub(super) struct Streams {
    /// What the connection is about while no stream is open.
    phase: Cell<Phase>,
    /// How many have been opened so far.
    opened: Cell<u64>,
    open: Cell<usize>,
    /// Since when each of those that wait for their client has done so.
    waiting: RefCell<BTreeMap<u64, Instant>>,
}

/// One that is open, until this is dropped.
#[derive(Debug)]
pub(super) struct OpenStream {
    streams: Rc<Streams>,
    number: u64,
    now: Instant,
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
            Some(&since) if since + settings.send_timeout <= now => Verdict::Gone,
            Some(&since) => Verdict::Until(Some(since + settings.send_timeout)),
        }
    }
}

impl OpenStream {
    /// The client has a piece to take before it is given the next.
    pub(super) fn wait_for_client(&mut self, now: Instant) {
        self.now = now;
        self.streams.waiting.borrow_mut().insert(self.number, now);
    }

    /// It has taken it.
    pub(super) fn go_on(&mut self, now: Instant) {
        self.now = now;
        self.streams.waiting.borrow_mut().remove(&self.number);
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
