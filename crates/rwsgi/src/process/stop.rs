//! The order to a child to take no further requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use exchange::{ChildId, Exchange};

/// The order to take no further requests.
#[derive(Debug)]
pub(crate) struct Stop {
    pub(crate) flag: AtomicBool,
    pub(crate) exchange: Arc<Exchange>,
    pub(crate) child: ChildId,
}

impl Stop {
    /// Gives the order, and wakes parked threads.
    pub(crate) fn order(&self) {
        self.flag.store(true, Ordering::Release);
        exchange::wake_child(&self.exchange, self.child);
    }
}
