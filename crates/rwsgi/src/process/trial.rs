//! The trial: repeats the warm-up in a forked process before any child, to find problems that the audit cannot.

use std::time::Duration;

use supervisor::Tried;
use tracing::{info, warn};
use wsgi::{App, HookPoint, Python};

use crate::config::Config;
use crate::python::interpreter::Hooks;

/// The time for a first request, when there is no warm-up to compare with.
const PATIENCE: Duration = Duration::from_secs(5);

/// The trial may take this many times the duration of the warm-up in the mold; more cannot be explained by load on
/// the machine.
const SLOWER: u32 = 10;

/// How long before the deadline the stacks are printed, to show where it hangs.
const STACKS_BEFORE: Duration = Duration::from_secs(1);

/// The exit code of a trial with a failed request.
const FAILED: u8 = 1;

/// A trial.
pub(crate) struct Trial<'a> {
    pub(crate) urls: Vec<String>,
    unknown: &'a [String],
    /// A failed response counts as an error, because none failed in the mold.
    counts: bool,
    patience: Duration,
}

impl<'a> Trial<'a> {
    /// `None` when there is nothing to try: an application without unknown findings gets no requests except those of
    /// `--warmup`.
    ///
    /// `warmed`: the duration of the warm-up, if no request failed.
    pub(crate) fn of(
        config: &Config,
        unknown: &'a [String],
        warmed: bool,
        took: Duration,
    ) -> Option<Self> {
        let is_asked_for = !config.warmup.is_empty();
        let urls = match (is_asked_for, unknown) {
            (true, _) => config.warmup.clone(),
            (false, []) => return None,
            (false, _) => vec!["/".to_owned()],
        };
        // The mold has a deadline, too.
        let patience = (PATIENCE + took * SLOWER).min(config.startup_timeout / 2);
        Some(Self {
            urls,
            unknown,
            counts: is_asked_for && warmed,
            patience,
        })
    }

    /// Runs the trial. The error describes the problem.
    pub(crate) fn run(&self, py: Python<'_>, app: &App) -> Result<(), String> {
        let tried = supervisor::try_out(self.patience, &Hooks(py), &mut || self.live(py, app));
        let urls = self.urls.join(", ");
        let seen = match tried {
            Ok(Tried::Ended(FAILED)) if self.counts => {
                "failed in it, and not before the fork".to_owned()
            }
            Ok(Tried::Ended(_)) => {
                info!(urls, "tried in a forked process");
                return Ok(());
            }
            Ok(Tried::Died(exit)) => format!("ended it with {exit}"),
            Ok(Tried::Late) => format!(
                "was not answered in it within {:.0?}: the stacks are above",
                self.patience
            ),
            Err(problem) => {
                warn!(error = %problem, "no process can be forked to try the application");
                return Ok(());
            }
        };
        let suspects = match self.unknown {
            [] => String::new(),
            unknown => format!(" (found: {})", unknown.join("; ")),
        };
        Err(format!(
            "a forked process was tried, and {urls} {seen}{suspects}"
        ))
    }

    /// Runs in the forked process.
    fn live(&self, py: Python<'_>, app: &App) -> u8 {
        wsgi::dump_stacks_after(py, self.patience.saturating_sub(STACKS_BEFORE));
        app.renew(py);
        // A hook that raises does so in each child, too, which reports it.
        if app.call_hooks(py, HookPoint::AfterFork).is_err() {
            return 0;
        }
        let warmed = app.warm_up(py, &self.urls);
        if warmed.iter().any(|each| each.why_not().is_some()) {
            FAILED
        } else {
            0
        }
    }
}
