//! What the compiler cannot check: calls into the kernel and memory that is not Rust's. No decision is made here.

pub(crate) mod descriptors;
pub(crate) mod fork;
pub(crate) mod heap;
pub(crate) mod process;
pub(crate) mod procfs;
pub(crate) mod signal;
pub(crate) mod socket;
pub(crate) mod title;
pub(crate) mod wait;
