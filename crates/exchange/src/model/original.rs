//! Under the model checker: nobody forks, and a thread that has been killed does nothing any more.

use crate::sync::mortal::is_dead;

/// Which process code of the application began to run in.
#[derive(Clone, Copy, Debug)]
pub struct Original;

impl Original {
    /// This process.
    #[must_use]
    pub fn here() -> Self {
        Self
    }

    /// Whether this process is another one. Destructors ask that first, and those of a killed thread do not run.
    #[must_use]
    pub fn is_elsewhere(&self) -> bool {
        is_dead()
    }

    /// The number of the process.
    #[must_use]
    pub fn process(&self) -> u32 {
        0
    }
}
