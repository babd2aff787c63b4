//! The trial of what no list can know: the warm-up once more, in a process that is forked before any child.

use std::time::Duration;

use supervisor::Tried;
use tracing::{info, warn};
use wsgi::{App, HookPoint, Python};

use crate::config::Config;
use crate::python::interpreter::Hooks;

/// What a first request may take by itself, with nothing to compare it with.
const PATIENCE: Duration = Duration::from_secs(5);

/// A warm-up in a forked process may take so many times what it took in the mold: nothing is in the way of another load on
/// the machine then.
const SLOWER: u32 = 10;

/// So long before the end, the stacks are printed: they show where it hangs.
const STACKS_BEFORE: Duration = Duration::from_secs(1);

/// The exit code of a trial in which a request failed.
const FAILED: u8 = 1;

/// What is to be tried.
pub(crate) struct Trial<'a> {
    pub(crate) urls: Vec<String>,
    unknown: &'a [String],
    /// An answer that fails counts: in the mold none has.
    counts: bool,
    patience: Duration,
}

impl<'a> Trial<'a> {
    /// `None` when there is nothing to try: an application of which all is known gets no request beyond those of `--warmup`.
    ///
    /// `warmed`: no warm-up has failed, and they took so long.
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

    /// Runs it. The error is what was seen.
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

    /// The life of the forked process.
    fn live(&self, py: Python<'_>, app: &App) -> u8 {
        wsgi::dump_stacks_after(py, self.patience.saturating_sub(STACKS_BEFORE));
        app.renew(py);
        // A hook that raises does so in each child, too, which says so.
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
