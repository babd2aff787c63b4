//! Progress messages for clients that wait for a reload, and its result.

use std::time::Duration;

use crate::control::PROGRESS_EVERY;
use crate::site::Site;
use crate::site::reloads::{News, Reload, Step, Subject, children};
use crate::site::slots::Child;

/// The first progress message comes after this time, so that a shorter reload needs none.
const SOON: Duration = Duration::from_secs(1);

impl Site<'_> {
    /// When the next progress message is due; `None` when no client waits.
    pub(crate) fn progress_due(&self) -> Option<Duration> {
        let (reported, at) = self.reloads.progress.reported?;
        let is_old = reported == Some(self.subject());
        Some(at + if is_old { PROGRESS_EVERY } else { SOON })
    }

    /// Sends a progress message, if it is due.
    pub(crate) fn report_progress(&mut self) {
        let now = self.now();
        if !self.is_waited_for() {
            self.reloads.progress.reported = None;
            return;
        }
        self.reloads.progress.reported.get_or_insert((None, now));
        if self.progress_due().is_none_or(|due| now < due) {
            return;
        }
        let text = self.waits_for();
        self.reloads.progress.reported = Some((Some(self.subject()), now));
        let reloads = &mut self.reloads;
        for waiter in reloads
            .running
            .iter_mut()
            .flat_map(|reload| &mut reload.waiters)
        {
            waiter(News::GoesOn(&text));
        }
        let text = match &reloads.running {
            None => text,
            Some(reload) => format!(
                "waiting for the reload that goes on, to generation {}; {text}",
                reload.generation
            ),
        };
        for waiter in reloads.asked.iter_mut().flatten() {
            waiter(News::GoesOn(&text));
        }
    }

    fn is_waited_for(&self) -> bool {
        let running = self.reloads.running.as_ref();
        let asked = self.reloads.asked.as_ref();
        running.is_some_and(|reload| !reload.waiters.is_empty())
            || asked.is_some_and(|waiters| !waiters.is_empty())
    }

    fn subject(&self) -> Subject {
        match &self.reloads.running {
            None => Subject::Start,
            Some(reload) => Subject::Step(reload.generation, reload.stage),
        }
    }

    /// What the reload waits for, in one line.
    fn waits_for(&self) -> String {
        let Some(Reload {
            generation,
            stage,
            since,
            ..
        }) = &self.reloads.running
        else {
            return "waiting for the server to have started".to_owned();
        };
        let seconds = self.now().saturating_sub(*since).as_secs();
        match stage {
            Step::Mold | Step::Loading => {
                format!("waiting for generation {generation} to load: {seconds} s")
            }
            Step::Trial(_) => {
                format!("waiting for the first child of generation {generation}: {seconds} s")
            }
            Step::WaitsForSlot => {
                let leaving = self.leaving_children();
                if leaving.is_empty() {
                    return format!("waiting for a free slot: {seconds} s");
                }
                format!(
                    "waiting for a free slot, held by {}",
                    self.about_children(&leaving)
                )
            }
            Step::Replacing(_) => {
                let former = self.of_former_generations();
                format!("waiting for {}", self.about_children(&former))
            }
        }
    }

    /// Describes these children: their number, generation and state, and which of them still hold slots.
    fn about_children(&self, those: &[&Child]) -> String {
        let mut generations: Vec<_> = those.iter().map(|child| child.generation).collect();
        generations.sort_unstable();
        generations.dedup();
        let generations: Vec<_> = generations.iter().map(u32::to_string).collect();
        let leaving = self.leaving_children();
        let ids = those.iter().chain(&leaving).map(|child| child.id);
        let mut ids: Vec<_> = ids.collect();
        ids.sort_unstable_by_key(|id| id.slot);
        ids.dedup();
        let doing = self.in_flight_of(&ids);
        format!(
            "{} of generation {}{}",
            children(those.len()),
            generations.join(" and "),
            doing.map_or_else(String::new, |doing| format!(": {doing}"))
        )
    }
}
