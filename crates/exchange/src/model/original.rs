//! Under the model checker: there are no forks, and a thread that has been killed must do nothing any more.

use crate::sync::killable::is_killed;

/// The process in which the application's code began to run.
#[derive(Clone, Copy, Debug)]
pub struct Original;

impl Original {
    /// This process.
    #[must_use]
    pub fn here() -> Self {
        Self
    }

    /// Whether this process is another one. Destructors check this first; so those of a killed thread have no effect.
    #[must_use]
    pub fn is_elsewhere(&self) -> bool {
        is_killed()
    }

    /// The number of the process.
    #[must_use]
    pub fn process(&self) -> u32 {
        0
    }
}
