//! Reaps the server's processes.

use nix::unistd::Pid;
use tracing::debug;

use crate::server::Server;
use crate::sink;
use crate::sys::wait::{Exit, ended, release};

impl Server<'_> {
    /// Reaps all processes that have ended. Until a process is released, its id is not reused.
    pub(super) fn reap(&mut self) {
        while let Some((pid, exit)) = ended() {
            if !self.reaped_own(pid, exit) && !self.reaped_by_site(pid, exit) {
                // The supervisor adopts orphans of programs that the application has started.
                debug!(
                    pid = pid.as_raw(),
                    cause = exit.to_string(),
                    "an adopted process ended"
                );
            }
            self.perform_effects();
            release(pid);
        }
    }

    /// Handles the end of a process that belongs to no site. Its last messages are received first.
    fn reaped_own(&mut self, pid: Pid, exit: Exit) -> bool {
        if self.front.as_ref().is_some_and(|front| front.pid == pid) {
            self.receive_front();
            self.reaped_front(exit);
        } else if self.is_successor(pid) {
            self.reaped_successor(exit);
        } else if sink::is_relay(pid) {
            self.logging.writer_ended(pid, exit, self.now());
        } else if self.logging.maker == Some(pid) {
            self.logging.maker = None;
            self.have_logs_reopened();
        } else {
            return false;
        }
        true
    }

    /// Handles the end of a process of a site.
    fn reaped_by_site(&mut self, pid: Pid, exit: Exit) -> bool {
        let reaped = |server: &mut Self| {
            (0..server.sites.len()).any(|index| {
                let strangers = server.strangers_to(index);
                server.sites[index].reaped(pid, exit, &strangers)
            })
        };
        if reaped(self) {
            return true;
        }
        // A child may have reported its birth just before it died.
        for index in 0..self.sites.len() {
            let strangers = self.strangers_to(index);
            self.sites[index].receive_unborn(&strangers);
            self.perform_effects();
        }
        reaped(self)
    }

    /// The processes that do not belong to this site, and so cannot be its children, whatever they report.
    pub(super) fn strangers_to(&self, index: usize) -> Vec<Pid> {
        let others = self.sites.iter().enumerate();
        let others = others.filter(|(other, _)| *other != index);
        let mut strangers: Vec<_> = others.flat_map(|(_, site)| site.processes()).collect();
        strangers.extend(self.front.as_ref().map(|front| front.pid));
        strangers.extend(self.successor.as_ref().map(|successor| successor.pid));
        strangers.extend(sink::relay_process());
        strangers
    }
}
