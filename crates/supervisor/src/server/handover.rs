//! USR2: another server, started from the same path, which may be a new version, takes over the listeners.
//!
//! It is started with the same arguments, inherits the listeners and one end of a pipe, and writes into the pipe
//! when it serves. Until then nothing has changed here; then this server finishes its requests and exits.

use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use nix::unistd::Pid;
use tracing::{error, info, warn};

use crate::server::Server;
use crate::server::stage::Stage;
use crate::server::successor::start;
use crate::sys::process::kill_now;
use crate::sys::wait::Exit;

impl Server<'_> {
    /// Starts the successor.
    pub(super) fn upgrade(&mut self) {
        if self.stage != Stage::Up || !self.announced || self.successor.is_some() {
            warn!(
                "no other server is started: this one does not serve, or has started one already"
            );
            return;
        }
        match start(&self.settings.program, &self.listeners, self.now()) {
            Ok(successor) => {
                info!(pid = successor.pid.as_raw(), "another server started");
                self.successor = Some(successor);
            }
            Err(problem) => error!(
                program = %self.settings.program.path.display(),
                error = %problem,
                "no other server could be started: this one serves on"
            ),
        }
    }

    /// The end of the pipe on which the successor reports.
    pub(super) fn successor_report(&self) -> Option<BorrowedFd<'_>> {
        Some(self.successor.as_ref()?.report.as_ref()?.as_fd())
    }

    /// Reads the report that the successor serves, or the end of the pipe.
    pub(super) fn receive_successor(&mut self) {
        let Some(successor) = &mut self.successor else {
            return;
        };
        let Some(report) = &mut successor.report else {
            return;
        };
        match report.read(&mut [0; 8]) {
            Ok(1..) => {
                info!(pid = successor.pid.as_raw(), "another server serves");
                self.systemd.hand_over(successor.pid);
                self.successor = None;
                self.leave_to_successor();
            }
            // It has ended, which SIGCHLD will report; if not, it will time out.
            Ok(0) => successor.report = None,
            Err(_) => {}
        }
    }

    /// When the successor times out.
    pub(super) fn successor_due(&self) -> Option<Duration> {
        let successor = self.successor.as_ref()?;
        Some(successor.since + self.settings.startup_timeout)
    }

    /// Gives up a successor that does not serve in time.
    pub(super) fn judge_successor(&mut self) {
        if self.successor_due().is_some_and(|due| due <= self.now()) {
            self.give_successor_up("it does not serve within the startup timeout");
        }
    }

    pub(super) fn is_successor(&self, pid: Pid) -> bool {
        self.successor
            .as_ref()
            .is_some_and(|successor| successor.pid == pid)
    }

    pub(super) fn reaped_successor(&mut self, exit: Exit) {
        self.receive_successor();
        if self.successor.take().is_some() {
            let cause = exit.to_string();
            error!(
                cause,
                "the other server ended before it served: this one serves on"
            );
        }
    }

    pub(super) fn break_off_upgrade(&mut self) {
        self.give_successor_up("this one is stopping");
    }

    fn give_successor_up(&mut self, reason: &str) {
        if let Some(successor) = self.successor.take() {
            let pid = successor.pid.as_raw();
            error!(pid, reason, "the other server is given up");
            // Its processes die with it.
            kill_now(successor.pid);
        }
    }
}
