//! The sources of responses: the application, or the front itself.

pub(crate) mod app;
pub(crate) mod health;
pub(crate) mod websocket;

pub use health::{Health, HealthError};
