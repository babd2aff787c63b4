//! The control socket: a line of JSON with a command, a line of JSON with the answer. Before an answer
//! that takes its time, lines say what it waits for.
//!
//! It is served from the supervisor's loop, which must not wait for anybody: sockets do not block, clients are few, what
//! they may send is short, and who takes too long is left.

pub(crate) mod commands;
mod protocol;
pub(crate) mod server;

pub use protocol::{
    Answer, ChildStatus, Command, FrontStatus, MoldStatus, PROGRESS_EVERY, Process, SiteStatus,
    Status, SupervisorStatus,
};
pub use server::{Control, listener_of};
