//! When a front is started. It is one process for all sites, so no site's pool decides about it.

use std::time::Duration;

use crate::backoff::{Backoff, SETTLED};

/// The front as the supervisor sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Front {
    /// There is none.
    Absent,
    /// It has been started and does not accept connections yet.
    Starting,
    /// It accepts connections.
    Serving {
        /// Since when.
        since: Duration,
    },
}

/// What is to be done about the front.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrontAction {
    /// Start one.
    Start,
    /// If nothing happens before, call again at this time, which is in the future.
    LookAgain {
        /// When.
        at: Duration,
    },
}

/// What is kept from look to look: the wait after fronts that have died.
#[derive(Clone, Debug)]
pub struct FrontMemory {
    starts: Backoff,
}

impl Default for FrontMemory {
    fn default() -> Self {
        Self {
            starts: Backoff::with_immediate_retry(),
        }
    }
}

/// The action to take about the front. `died`: one has died, or could not be started, since the last look.
#[must_use]
pub fn decide_front(
    memory: &mut FrontMemory,
    now: Duration,
    front: Front,
    died: bool,
) -> Option<FrontAction> {
    // A success counts before a failure of the same look, so that a front that has settled ends the back-off first.
    if let Front::Serving { since } = front
        && now.saturating_sub(since) >= SETTLED
    {
        memory.starts.succeeded(since);
    }
    if died {
        memory.starts.failed(now);
    }
    if front != Front::Absent {
        return None;
    }
    let at = memory.starts.not_before();
    Some(if at <= now {
        FrontAction::Start
    } else {
        FrontAction::LookAgain { at }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Several looks with one memory: (milliseconds, front, died, decision).
    fn check(looks: &[(u64, Front, bool, Option<FrontAction>)]) {
        let mut memory = FrontMemory::default();
        for (millis, front, died, expected) in looks {
            let now = Duration::from_millis(*millis);
            let decided = decide_front(&mut memory, now, *front, *died);
            assert_eq!(decided, *expected, "{front:?} at {millis}");
        }
    }

    fn again(millis: u64) -> Option<FrontAction> {
        let at = Duration::from_millis(millis);
        Some(FrontAction::LookAgain { at })
    }

    const START: Option<FrontAction> = Some(FrontAction::Start);

    #[test]
    fn a_front_is_started_at_once_and_then_left_alone() {
        let since = Duration::from_millis(1);
        check(&[
            (0, Front::Absent, false, START),
            (1, Front::Starting, false, None),
            (2, Front::Serving { since }, false, None),
        ]);
    }

    #[test]
    fn a_dead_front_is_started_again_at_once_then_more_and_more_slowly() {
        check(&[
            (1000, Front::Absent, true, START),
            (1100, Front::Absent, true, again(1200)),
            (1200, Front::Absent, false, START),
            (1300, Front::Absent, true, again(1500)),
        ]);
    }

    #[test]
    fn a_front_that_stays_up_ends_the_back_off() {
        let serving = |millis| Front::Serving {
            since: Duration::from_millis(millis),
        };
        check(&[
            (1000, Front::Absent, true, START),
            (1100, Front::Absent, true, again(1200)),
            (1200, Front::Absent, false, START),
            (6199, serving(1200), false, None),
            (6199, Front::Absent, true, again(6399)),
            (6400, Front::Absent, false, START),
            (12_000, serving(6500), false, None),
            (12_000, Front::Absent, true, START),
        ]);
    }
}
