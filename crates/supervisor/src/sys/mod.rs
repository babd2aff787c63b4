//! Code that the compiler cannot check: system calls and memory that is not Rust's. It makes no decisions.

pub(crate) mod descriptors;
pub(crate) mod fork;
pub(crate) mod heap;
pub(crate) mod process;
pub(crate) mod procfs;
pub(crate) mod signal;
pub(crate) mod socket;
pub(crate) mod title;
pub(crate) mod wait;
