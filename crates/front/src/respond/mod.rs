//! The sources of responses: the application, or the front itself.

pub(crate) mod app;
pub(crate) mod health;

pub use health::{Health, HealthError};
