//! Processes: how they start, their identity and limits, and how they end.

pub mod exit;
pub(crate) mod identity;
pub(crate) mod limits;
mod log_files;
pub(crate) mod memory;
pub(crate) mod output;
pub(crate) mod places;
pub(crate) mod signals;
pub(crate) mod spawn;
pub(crate) mod trial;
