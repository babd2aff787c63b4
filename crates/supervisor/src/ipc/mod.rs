//! Communication between supervisor, front, molds and children.

pub(crate) mod channel;
pub(crate) mod message;
