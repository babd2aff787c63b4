//! The streams of connections, independent of HTTP.

mod prefixed;
mod progress;
mod stream;

pub(crate) use prefixed::Prefixed;
pub(crate) use progress::{Pace, Patience, SlowReader};
pub(crate) use stream::{Stream, UNSENT};
