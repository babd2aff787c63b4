//! The rows of the table, by topic.

pub(crate) mod application;
pub(crate) mod elastic;
pub(crate) mod listening;
pub(crate) mod logging;
pub(crate) mod meta;
pub(crate) mod processes;
pub(crate) mod recycling;
pub(crate) mod requests;
pub(crate) mod service;
