//! Where requests go: the exchange of one site, in which its children take them and leave their responses.

mod buffer;
mod requests;
mod tasks;
mod waiting;

pub(crate) use requests::{Pending, Upstream};
pub(crate) use tasks::open;
pub(crate) use waiting::Supervisor;
