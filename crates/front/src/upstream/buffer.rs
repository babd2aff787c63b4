//! What has come of a response and has not been sent.

use std::collections::VecDeque;
use std::task::Waker;

use exchange::{Extent, Part};

/// Bytes of one response that are kept for a slow reader before the application's thread has to wait.
pub(super) const ENOUGH: usize = 1024 * 1024;

/// What has come of a response and has not been sent.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    pub(super) parts: VecDeque<Part>,
    pub(super) bytes: usize,
    pub(super) end: Option<End>,
    /// What the response goes on with when its last part says so.
    pub(super) extent: Option<Extent>,
    pub(super) waker: Option<Waker>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The last part is in the buffer, or was.
    Said,
    /// The child died.
    Lost,
    /// No thread has taken it in time.
    QueuedTooLong,
}

impl Buffer {
    /// Forgets the response, keeps the memory.
    pub(super) fn empty(&mut self) {
        let mut parts = std::mem::take(&mut self.parts);
        parts.clear();
        *self = Self {
            parts,
            ..Self::default()
        };
    }
}
