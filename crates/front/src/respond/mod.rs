//! What answers a request: the application, or the front by itself.

pub(crate) mod app;
pub(crate) mod health;

pub use health::{Health, HealthError};
