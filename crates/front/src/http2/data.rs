//! A piece of a body from when it is given to hyper until the client has taken it: hyper drops it then.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::Waker;

use bytes::Buf;

use crate::memory::Share;

/// Whether a piece of a response is with hyper. There is one at a time: what hyper holds of a response is bounded, however
/// small its pieces are.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    is_any: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// A piece of a body.
#[derive(Debug)]
pub(super) struct Data {
    bytes: Vec<u8>,
    /// Up to where it has been taken.
    taken: usize,
    /// What it has of the memory for responses.
    _share: Share,
    in_flight: Rc<InFlight>,
}

impl InFlight {
    pub(super) fn is_any(&self) -> bool {
        self.is_any.get()
    }

    /// Has `waker` woken when the piece has been taken.
    pub(super) fn wake_when_taken(&self, waker: &Waker) {
        self.waker.replace(Some(waker.clone()));
    }

    /// These bytes from `from` on, for which the share has been told to hold them.
    pub(super) fn give(self: &Rc<Self>, bytes: Vec<u8>, from: usize, share: Share) -> Data {
        self.is_any.set(true);
        Data {
            bytes,
            taken: from,
            _share: share,
            in_flight: Rc::clone(self),
        }
    }
}

impl Buf for Data {
    fn remaining(&self) -> usize {
        self.bytes.len() - self.taken
    }

    fn chunk(&self) -> &[u8] {
        &self.bytes[self.taken..]
    }

    fn advance(&mut self, count: usize) {
        assert!(count <= self.remaining());
        self.taken += count;
    }
}

impl Drop for Data {
    fn drop(&mut self) {
        self.in_flight.is_any.set(false);
        if let Some(waker) = self.in_flight.waker.take() {
            waker.wake();
        }
    }
}
