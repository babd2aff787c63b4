//! The size of the pool: as configured, or as somebody has set it since.

use pool::Pool;
use tracing::{info, warn};

use crate::site::Site;

impl Site<'_> {
    /// The pool as the rules are to keep it.
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

    /// Children of the pool; of an elastic one the most that it may have.
    pub(crate) fn size(&self) -> u16 {
        match (self.scaled, self.settings.pool) {
            (Some(children), _) => children,
            (None, Pool::Fixed { processes }) => processes,
            (None, Pool::Apache(elastic) | Pool::Safe(pool::Safe { elastic, .. })) => {
                elastic.max_children()
            }
        }
    }

    /// The most children that the pool can have: one slot is kept for the child that replaces another.
    pub(crate) fn most_children(&self) -> u16 {
        let slots = u16::try_from(self.slots.len()).unwrap_or(u16::MAX);
        slots.saturating_sub(1).max(1)
    }

    /// Gives the pool another size, until the next reload: of an elastic one the most children that it may have.
    ///
    /// # Errors
    /// Why it cannot have that size.
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

    /// One child more.
    pub(crate) fn scale_up(&mut self) {
        if let Err(reason) = self.scale(self.size().saturating_add(1)) {
            warn!(reason, "not scaled");
        }
    }

    /// One child less, but not the last.
    pub(crate) fn scale_down(&mut self) {
        match self.size() {
            0 | 1 => warn!(children = self.size(), "not scaled: the last child stays"),
            // Never more than there is room for, as it is less than there is.
            children => drop(self.scale(children - 1)),
        }
    }

    /// All children leave, and requests wait until there are some again.
    pub(crate) fn retire_all(&mut self) {
        info!("all children retire, until HUP or TTIN");
        self.scaled = Some(0);
    }
}
