//! The time, as of the beginning of the runtime's turn: limits of time are far longer than a turn, and each request would
//! otherwise ask for the time again and again.

use std::cell::Cell;

use tokio::time::Instant;

thread_local! {
    static NOW: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// The time at which the turn began.
pub(crate) fn now() -> Instant {
    NOW.get().unwrap_or_else(Instant::now)
}

/// A turn begins.
pub(crate) fn advance() {
    NOW.set(Some(Instant::now()));
}
