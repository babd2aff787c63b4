//! Hooks that run before the runtime sleeps, and after.
//!
//! tokio's hooks take no context, so the data is in a thread-local static, the only one in this crate.

use std::cell::RefCell;
use std::rc::Rc;

use crate::context::Context;
use crate::upstream::Upstream;

thread_local! {
    static TURN: RefCell<Option<Turn>> = const { RefCell::new(None) };
}

/// The state for the hooks of one turn of the runtime.
pub(crate) struct Turn {
    pub(crate) context: Rc<Context>,
    pub(crate) upstream: Rc<Upstream>,
}

/// Sets the state for the runtime of this thread.
pub(crate) fn set(turn: Turn) {
    TURN.set(Some(turn));
}

/// Clears the state after the runtime has ended.
pub(crate) fn unset() {
    TURN.set(None);
}

/// Runs just before the runtime sleeps.
pub(crate) fn before_park() {
    with(|turn| {
        turn.upstream.before_park();
        if let Some(log) = &turn.context.log {
            log.flush();
        }
    });
}

/// Runs when the runtime wakes.
pub(crate) fn after_unpark() {
    with(|turn| {
        turn.context.clock.advance();
        turn.upstream.after_unpark();
    });
}

fn with(act: impl FnOnce(&Turn)) {
    TURN.with_borrow(|turn| {
        // The hooks already run before the state is set.
        if let Some(turn) = turn {
            act(turn);
        }
    });
}
