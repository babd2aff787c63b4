//! What is done when the runtime sleeps, and when it goes on.
//!
//! The runtime's hooks have no other way to what is the thread's than a static of the thread, and this is the only one.

use std::cell::RefCell;
use std::rc::Rc;

use crate::context::Context;
use crate::upstream::Upstream;

thread_local! {
    static TURN: RefCell<Option<Turn>> = const { RefCell::new(None) };
}

/// What each turn of the runtime begins and ends with.
pub(crate) struct Turn {
    pub(crate) context: Rc<Context>,
    pub(crate) upstream: Rc<Upstream>,
}

/// From now on, this thread's runtime has `turn`.
pub(crate) fn set(turn: Turn) {
    TURN.set(Some(turn));
}

/// The thread's runtime has ended.
pub(crate) fn unset() {
    TURN.set(None);
}

/// Just before the runtime sleeps.
pub(crate) fn before_park() {
    with(|turn| {
        turn.upstream.before_park();
        if let Some(log) = &turn.context.log {
            log.flush();
        }
    });
}

/// When the runtime goes on.
pub(crate) fn after_unpark() {
    with(|turn| {
        turn.context.clock.advance();
        turn.upstream.after_unpark();
    });
}

fn with(act: impl FnOnce(&Turn)) {
    TURN.with_borrow(|turn| {
        // There is none before the first connection, and the hooks run before that.
        if let Some(turn) = turn {
            act(turn);
        }
    });
}
