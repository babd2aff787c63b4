//! The names by which processes, threads and requests know each other.

use std::fmt;

/// One incarnation in a child slot: which slot, and which of those that the slot has had.
///
/// By the incarnation a late message about a dead child is not taken for one about its successor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ChildId {
    /// The child's slot, from 0.
    pub slot: u16,
    /// Counts the children that the slot has had, wrapping.
    pub incarnation: u8,
}

impl fmt::Display for ChildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.slot, self.incarnation)
    }
}

/// One application thread of one child, as a claim names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Owner {
    /// The child.
    pub child: ChildId,
    /// Its thread, from 0 to 255.
    pub thread: u8,
}

/// Names a request: the slot that holds it, and how many requests the slot has held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestId {
    /// The request's slot.
    pub slot: u32,
    /// Grows with each request of the slot, wrapping.
    pub seq: u32,
}
