//! What bodies and responses take of the front's memory, of all connections together.

use std::cell::Cell;
use std::rc::Rc;

/// Bytes that each body and each response may have besides: less would not be worth a file.
pub(crate) const FREE: usize = 4 * 1024;

/// Bytes that all bodies and responses may have together.
#[derive(Debug)]
pub(crate) struct Memory {
    most: usize,
    used: Cell<usize>,
}

/// What one body or response has of it. Dropped, it is given back.
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

    /// Bytes that are held for which there is no room.
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
    /// Notes that so many bytes are held now, and tells whether there is room for them. That is for the owner to see to: they
    /// are counted in any case.
    pub(crate) fn hold(&mut self, bytes: usize) -> bool {
        let held = if bytes > FREE { bytes } else { 0 };
        if held != self.held {
            let used = self.memory.used.get() - self.held + held;
            self.memory.used.set(used);
            self.held = held;
        }
        !self.is_beyond()
    }

    /// Bytes that it may hold as things are.
    pub(crate) fn limit(&self) -> usize {
        let others = self.memory.used.get() - self.held;
        self.memory.most.saturating_sub(others).max(FREE)
    }

    /// Whether something is held for which there is no room.
    pub(crate) fn is_beyond(&self) -> bool {
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
    fn what_is_held_counts_until_it_is_given_back() {
        let memory = Memory::new(10 * FREE);
        let (mut one, mut other) = (memory.share(), memory.share());
        assert!(one.hold(6 * FREE));
        assert!(!other.hold(5 * FREE));
        assert!(one.is_beyond() && other.is_beyond());
        assert!(other.hold(4 * FREE));
        assert!(!one.is_beyond());
        assert_eq!((one.limit(), other.limit()), (6 * FREE, 4 * FREE));
        drop(one);
        assert!(other.hold(10 * FREE));
        drop(other);
        assert_eq!(memory.used.get(), 0);
    }

    #[test]
    fn a_little_is_free() {
        let memory = Memory::new(0);
        let mut share = memory.share();
        assert!(share.hold(FREE));
        assert!(!share.hold(FREE + 1));
    }
}
