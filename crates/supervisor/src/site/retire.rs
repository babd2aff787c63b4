//! Processes that were told to exit: what they still do, and what happens if they do not exit.

use std::time::Duration;

use exchange::{ChildId, ChildState, Exchange, InFlight};
use nix::unistd::Pid;
use tracing::{info, warn};

use crate::ipc::message::ChildOrder;
use crate::site::Site;
use crate::site::slots::{Child, Mold, Phase, Slot};

/// The maximum of requests in a log line, and of characters of a path.
const REQUESTS: usize = 8;
const CHARACTERS: usize = 200;

/// The minimum time for a mold to exit: it runs the application's exit handlers.
const MOLD_LEAVES: Duration = Duration::from_secs(2);

impl Site<'_> {
    /// Tells a child to drain. One that is not ready is killed.
    pub(crate) fn retire_child(&mut self, slot: u16) {
        let now = self.now();
        if let Some(child) = self.slots[usize::from(slot)].child_mut() {
            let pid = child.pid.map(Pid::as_raw);
            info!(child = slot, r#gen = child.generation, pid, "retires");
            if child.phase == Phase::Ready {
                drain(child, self.exchange, now);
            } else {
                child.kill();
            }
        }
    }

    /// Kills a child that has not exited in time, and logs its requests.
    pub(crate) fn kill_overdue_child(&mut self, slot: u16) {
        let timeout_ms = self.settings.shutdown_timeout.as_millis();
        let in_flight = self.slots[usize::from(slot)]
            .child()
            .and_then(|child| self.in_flight_so_long(child.id));
        if let Some(child) = self.slots[usize::from(slot)].child_mut() {
            warn!(
                child = slot,
                r#gen = child.generation,
                pid = child.pid.map(Pid::as_raw),
                timeout_ms,
                in_flight,
                "not finished at the end of the shutdown timeout: killed"
            );
            child.overdue = true;
            child.kill();
        }
    }

    /// Kills all remaining children at the end of a stop.
    pub(crate) fn kill_overdue_children(&mut self) {
        for slot in self.all_slots() {
            if self.slots[usize::from(slot)].child().is_some() {
                self.kill_overdue_child(slot);
            }
        }
    }

    /// Tells molds of earlier generations that have no child left to exit. What the application has created in a
    /// mold, such as a temporary folder, is removed when the mold exits, so it stays until its children have gone.
    pub(crate) fn dismiss_former_molds(&mut self) {
        let children = self.slots.iter().filter_map(Slot::child);
        let generations: Vec<u32> = children.map(|child| child.generation).collect();
        let leave_by = self.now() + self.settings.shutdown_timeout.max(MOLD_LEAVES);
        for mold in &mut self.molds.former {
            if !mold.leaving && !generations.contains(&mold.generation) {
                mold.dismiss(leave_by);
            }
        }
    }

    /// When a mold that was told to exit times out.
    pub(crate) fn former_molds_due(&self) -> Option<Duration> {
        let due = self.molds.former.iter().filter_map(|mold| mold.leave_by);
        due.min()
    }

    /// Kills molds that were told to exit and did not: one that hangs or is stopped reads no order.
    pub(crate) fn kill_overdue_molds(&mut self) {
        let now = self.now();
        let overdue = |mold: &&mut Mold| mold.leave_by.is_some_and(|due| due <= now);
        for mold in self.molds.former.iter_mut().filter(overdue) {
            warn!(
                r#gen = mold.generation,
                pid = mold.pid.as_raw(),
                "mold has not left in time: killed"
            );
            mold.kill();
            mold.overdue = true;
        }
    }

    /// The requests that a child has taken and not answered: method and path of each.
    pub(crate) fn in_flight(&self, id: ChildId) -> Option<String> {
        describe(self.exchange.in_flight(id), |request| {
            format!("{} {}", request.method, path(request))
        })
    }

    /// The same with their durations, the longest first.
    fn in_flight_so_long(&self, id: ChildId) -> Option<String> {
        describe(self.exchange.in_flight(id), |request| {
            format!("{} {}", request.method, within(request))
        })
    }

    /// The same of several children, without the methods.
    pub(crate) fn in_flight_of(&self, ids: &[ChildId]) -> Option<String> {
        let requests = ids.iter().flat_map(|id| self.exchange.in_flight(*id));
        describe(requests.collect(), within)
    }

    /// The children of earlier generations that still take requests.
    pub(crate) fn of_former_generations(&self) -> Vec<&Child> {
        let takes_requests = |child: &&Child| {
            // A child that is not ready and was told to exit has been killed.
            let is_going = child.drains || (child.leaving && child.phase != Phase::Ready);
            child.generation != self.generation && !is_going
        };
        let children = self.slots.iter().filter_map(Slot::child);
        children.filter(takes_requests).collect()
    }

    /// The children that were told to exit, or killed, and have not ended.
    pub(crate) fn leaving_children(&self) -> Vec<&Child> {
        let children = self.slots.iter().filter_map(Slot::child);
        children.filter(|child| child.leaving).collect()
    }
}

/// Tells a child to drain. Its deadline counts from before the order.
pub(crate) fn drain(child: &mut Child, exchange: &Exchange, now: Duration) {
    child.leaving = true;
    child.draining.get_or_insert(now);
    exchange
        .scoreboard()
        .child(child.id.slot)
        .set_state(ChildState::Draining);
    // Fails when the child has ended; the channel cannot be full, because nothing else is sent.
    let _ = child
        .link
        .as_ref()
        .map(|link| link.try_send(ChildOrder::Drain));
}

fn describe(mut requests: Vec<InFlight>, format: impl Fn(&InFlight) -> String) -> Option<String> {
    requests.sort_by_key(|request| std::cmp::Reverse(request.running));
    let more = requests.len().saturating_sub(REQUESTS);
    let mut words: Vec<_> = requests.iter().take(REQUESTS).map(format).collect();
    if more > 0 {
        words.push(format!("{more} more"));
    }
    (!words.is_empty()).then(|| words.join(", "))
}

fn path(request: &InFlight) -> String {
    let mut path: String = request.path.chars().take(CHARACTERS).collect();
    if path.len() < request.path.len() {
        path.push('…');
    }
    path
}

fn within(request: &InFlight) -> String {
    format!("{} for {} s", path(request), request.running.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(path: &str, seconds: u64) -> InFlight {
        InFlight {
            child: ChildId {
                slot: 0,
                incarnation: 1,
            },
            thread: 0,
            request_id: exchange::RequestId { slot: 0, seq: 0 },
            method: "GET".to_owned(),
            path: path.to_owned(),
            running: Duration::from_secs(seconds),
        }
    }

    #[test]
    fn the_longest_requests_come_first_and_the_line_is_bounded() {
        assert_eq!(describe(Vec::new(), within), None);
        let two = vec![request("/a", 3), request("/b", 12)];
        assert_eq!(
            describe(two, within).as_deref(),
            Some("/b for 12 s, /a for 3 s")
        );
        let many = (0..REQUESTS + 2).map(|_| request("/", 0)).collect();
        assert!(describe(many, within).unwrap().ends_with(", 2 more"));
        let long = describe(vec![request(&"/é".repeat(CHARACTERS), 0)], within).unwrap();
        assert_eq!(
            long.chars().count(),
            CHARACTERS + "… for 0 s".chars().count()
        );
    }
}
