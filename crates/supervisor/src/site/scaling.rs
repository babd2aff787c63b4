//! The size of the pool: as configured, or as set by a command since.

use pool::Pool;
use tracing::{info, warn};

use crate::site::Site;

impl Site<'_> {
    /// The pool for the rules.
    pub(crate) fn pool(&self) -> Pool {
        match (self.scaled, self.settings.pool) {
            (None, pool) => pool,
            (Some(0), _) => Pool::Fixed { processes: 0 },
            (Some(processes), Pool::Fixed { .. }) => Pool::Fixed { processes },
            (Some(most), Pool::Apache(elastic)) => Pool::Apache(elastic.limited_to(most)),
            (Some(most), Pool::Safe(safe)) => Pool::Safe(pool::Safe {
                elastic: safe.elastic.limited_to(most),
                ..safe
            }),
        }
    }

    /// The size of the pool; the maximum for an elastic one.
    pub(crate) fn size(&self) -> u16 {
        match (self.scaled, self.settings.pool) {
            (Some(children), _) => children,
            (None, Pool::Fixed { processes }) => processes,
            (None, Pool::Apache(elastic) | Pool::Safe(pool::Safe { elastic, .. })) => {
                elastic.max_children()
            }
        }
    }

    /// The maximum size of the pool: one slot is reserved for a child that replaces another.
    pub(crate) fn most_children(&self) -> u16 {
        let slots = u16::try_from(self.slots.len()).unwrap_or(u16::MAX);
        slots.saturating_sub(1).max(1)
    }

    /// Sets the size of the pool until the next reload; for an elastic one the maximum.
    ///
    /// # Errors
    /// When the size is not possible, with the reason.
    pub(crate) fn scale(&mut self, children: u16) -> Result<(), String> {
        let most = self.most_children();
        if children > most {
            return Err(format!(
                "{children} children are too many: the server was started with room for {most}"
            ));
        }
        info!(children, before = self.size(), "scaled");
        self.scaled = Some(children);
        Ok(())
    }

    /// Adds one child.
    pub(crate) fn scale_up(&mut self) {
        if let Err(reason) = self.scale(self.size().saturating_add(1)) {
            warn!(reason, "not scaled");
        }
    }

    /// Removes one child, but not the last.
    pub(crate) fn scale_down(&mut self) {
        match self.size() {
            0 | 1 => warn!(children = self.size(), "not scaled: the last child stays"),
            // Cannot fail, because it is smaller than the current size.
            children => drop(self.scale(children - 1)),
        }
    }

    /// All children exit, and requests wait until new ones are ready.
    pub(crate) fn retire_all(&mut self) {
        info!("all children retire, until HUP or TTIN");
        self.scaled = Some(0);
    }
}
