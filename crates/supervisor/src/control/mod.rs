//! The control socket: a command is a line of JSON, and so is the answer. Before an answer that takes time,
//! progress lines follow each other.
//!
//! It is served from the supervisor's loop, which must not block: the sockets are nonblocking, the number of
//! clients and the length of a command are limited, and slow clients are disconnected.

pub(crate) mod commands;
mod protocol;
pub(crate) mod server;

pub use protocol::{
    Answer, ChildStatus, Command, FrontStatus, MoldStatus, PROGRESS_EVERY, Process, SiteStatus,
    Status, SupervisorStatus,
};
pub use server::{Control, listener_of};
