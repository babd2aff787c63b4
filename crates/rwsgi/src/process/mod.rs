//! The main functions of the processes, and what the supervisor and the front need from this crate.

mod child;
mod governor;
pub(crate) mod loading;
mod mold;
pub(crate) mod roles;
pub(crate) mod settings;
mod stop;
mod threads;
pub(crate) mod trial;
