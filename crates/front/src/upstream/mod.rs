//! The connection to the application: the exchange of one site, in which children take requests and leave
//! responses.

mod buffer;
mod requests;
mod tasks;
mod waiting;

pub(crate) use requests::{Pending, Upstream};
pub(crate) use tasks::open;
pub(crate) use waiting::Supervisor;
