//! What supervisor, front, molds and children say to each other, and over what.

pub(crate) mod channel;
pub(crate) mod message;
