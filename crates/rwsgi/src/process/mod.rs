//! The lives of the processes: what the supervisor and the front are told, and what a mold and its children do.

mod child;
mod governor;
pub(crate) mod loading;
mod mold;
pub(crate) mod roles;
pub(crate) mod settings;
mod stop;
mod threads;
pub(crate) mod trial;
