//! The memory budget for the bodies and responses of all connections.

use std::cell::Cell;
use std::rc::Rc;

/// Bytes that each body and each response may have beyond the budget: fewer bytes would not be worth a file.
pub(crate) const FREE: usize = 4 * 1024;

/// Bytes of all bodies and responses together.
#[derive(Debug)]
pub(crate) struct Memory {
    most: usize,
    used: Cell<usize>,
}

/// The share of one body or response, which is returned when dropped.
#[derive(Debug)]
pub(crate) struct Share {
    memory: Rc<Memory>,
    held: usize,
}

impl Memory {
    pub(crate) fn new(most: usize) -> Rc<Self> {
        let used = Cell::new(0);
        Rc::new(Self { most, used })
    }

    /// Bytes held beyond the budget.
    pub(crate) fn excess(&self) -> u64 {
        self.used.get().saturating_sub(self.most) as u64
    }

    /// An empty share.
    pub(crate) fn share(self: &Rc<Self>) -> Share {
        let memory = Rc::clone(self);
        Share { memory, held: 0 }
    }
}

impl Share {
    /// Sets the number of bytes held, and returns whether the budget covers them. They are counted in any case: it
    /// is the owner's task to release them.
    pub(crate) fn hold(&mut self, bytes: usize) -> bool {
        let held = if bytes > FREE { bytes } else { 0 };
        if held != self.held {
            let used = self.memory.used.get() - self.held + held;
            self.memory.used.set(used);
            self.held = held;
        }
        !self.exceeds_budget()
    }

    /// Bytes that this share may hold at the moment.
    pub(crate) fn limit(&self) -> usize {
        let others = self.memory.used.get() - self.held;
        self.memory.most.saturating_sub(others).max(FREE)
    }

    /// Whether this share holds bytes beyond the budget.
    pub(crate) fn exceeds_budget(&self) -> bool {
        self.held > 0 && self.memory.used.get() > self.memory.most
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.hold(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn held_bytes_count_until_they_are_returned() {
        let memory = Memory::new(10 * FREE);
        let (mut one, mut other) = (memory.share(), memory.share());
        assert!(one.hold(6 * FREE));
        assert!(!other.hold(5 * FREE));
        assert!(one.exceeds_budget() && other.exceeds_budget());
        assert!(other.hold(4 * FREE));
        assert!(!one.exceeds_budget());
        assert_eq!((one.limit(), other.limit()), (6 * FREE, 4 * FREE));
        drop(one);
        assert!(other.hold(10 * FREE));
        drop(other);
        assert_eq!(memory.used.get(), 0);
    }

    #[test]
    fn small_amounts_are_not_counted() {
        let memory = Memory::new(0);
        let mut share = memory.share();
        assert!(share.hold(FREE));
        assert!(!share.hold(FREE + 1));
    }
}
