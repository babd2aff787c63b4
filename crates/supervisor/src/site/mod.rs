//! What belongs to one application: its molds and children, its generations, and the rules that it follows.

pub(crate) mod changes;
pub(crate) mod cpu;
mod messages;
mod observe;
mod progress;
pub(crate) mod reap;
mod reload;
pub(crate) mod reloads;
pub(crate) mod retire;
mod retry;
mod scaling;
pub(crate) mod slots;
mod start;
pub(crate) mod wait_time;
pub(crate) mod watch;
