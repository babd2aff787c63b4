//! What the rules of `pool` get to see, and how their decisions are performed.

use std::ops::ControlFlow;
use std::time::Duration;

use nix::unistd::Pid;
use pool::Action;
use tracing::{error, info, warn};

use crate::process::exit::ExitReason;
use crate::roles::MoldNewborn;
use crate::site::Site;
use crate::site::slots::Mold;

impl Site<'_> {
    /// Asks `pool` and performs its actions. Returns when to ask again, and breaks in a forked process.
    pub(crate) fn keep_pool(
        &mut self,
        front: Option<Pid>,
    ) -> ControlFlow<MoldNewborn, Option<Duration>> {
        let events = std::mem::take(&mut self.events);
        let load = self.load();
        let weight = self.measure_memory(front);
        let computing = self.measure_cpu(front);
        let stats = self.child_stats(&load.busy);
        let now = self.now();
        let demand = self.observed.waits.look(&load, now);
        let children: Vec<_> = self
            .slots
            .iter()
            .zip(&load.busy)
            .map(|(slot, busy)| match slot.child() {
                // It does not belong to the pool yet.
                Some(child) if self.is_trial(child.id) => pool::Child::Leaving,
                _ => slot.observed(*busy),
            })
            .collect();
        let seen = pool::Observed {
            now,
            mold: match &self.molds.serving {
                None if self.is_loading_next() || self.waits_for_change() => pool::Mold::Leaving,
                mold => Mold::observed(mold.as_ref()),
            },
            children: &children,
            stats: &stats,
            demand,
            weight,
            computing,
            events: &events,
        };
        let limits = pool::Limits {
            pool: self.pool(),
            recycling: self.settings.recycling,
            startup_timeout: self.settings.startup_timeout,
            shutdown_timeout: self.settings.shutdown_timeout,
        };
        let mut again = self.look_due(demand.waiting > 0);
        for action in pool::decide(&limits, &mut self.rules, &seen) {
            match action {
                Action::BuildMold => self.build_mold()?,
                Action::KillMold => self.kill_late_mold(),
                Action::Spawn { slot } => self.order_child(slot),
                Action::Kill { slot } => self.kill_late_child(slot),
                Action::Replace { slot, reason } => {
                    self.mark_outgoing(slot, reason);
                    // Asks again at once, so that its replacement is started.
                    again = Some(Duration::ZERO);
                }
                Action::Retire { slot } => self.retire_child(slot),
                Action::LookAgain { at } => again = again.into_iter().chain([at]).min(),
                Action::Log(message) => self.log_rule(message),
                Action::GiveUp(reason) => {
                    error!(%reason, "the server cannot go on");
                    self.fail(ExitReason::CannotStart);
                }
            }
        }
        ControlFlow::Continue(again)
    }

    /// Notes that a child is to be replaced.
    fn mark_outgoing(&mut self, slot: u16, reason: pool::Reason) {
        if let Some(child) = self.slots[usize::from(slot)].child_mut() {
            let pid = child.pid.map(Pid::as_raw);
            let reason = reason.to_string();
            info!(
                child = slot,
                r#gen = child.generation,
                pid,
                reason,
                "recycling"
            );
            child.outgoing = true;
        }
    }

    /// Logs a message of the rules.
    fn log_rule(&self, message: pool::Message) {
        let text = message.to_string();
        match message {
            // The size of such a pool was requested as it is, so the warning does not apply.
            pool::Message::ReachedMaxRequestWorkers if self.settings.keeps_size => {}
            pool::Message::Busy {
                spawning,
                idle,
                total,
            } => info!(spawning, idle, total, "{text}"),
            pool::Message::ReachedMemoryBudget { budget, children } => {
                warn!(budget, children, "{text}");
            }
            pool::Message::ReachedMaxRequestWorkers
            | pool::Message::NearMaxRequestWorkers
            | pool::Message::ScoreboardFull
            | pool::Message::KilledSuccessively => warn!(children = self.size(), "{text}"),
        }
    }

    /// The load of the slots, if it is needed: determining it reads each place of the exchange.
    fn load(&self) -> exchange::Load {
        if matches!(self.pool(), pool::Pool::Fixed { .. })
            && self.settings.recycling.inactivity_timeout.is_zero()
        {
            return exchange::Load {
                busy: vec![0; self.slots.len()],
                ..exchange::Load::default()
            };
        }
        self.exchange.load()
    }
}
