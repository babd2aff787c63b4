//! The streams of connections. Nothing here knows of HTTP.

mod begun;
mod progress;
mod stream;

pub(crate) use begun::Begun;
pub(crate) use progress::{Pace, Patience, SlowReader};
pub(crate) use stream::{Stream, UNSENT};
