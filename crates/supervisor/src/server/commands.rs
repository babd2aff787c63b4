//! Commands of the control socket, executed by the server.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::control::commands::{Commands, execute};
use crate::control::{FrontStatus, Process, Status, SupervisorStatus};
use crate::listen::Listener;
use crate::server::Server;
use crate::server::front::{Drain, Front};
use crate::server::stage::Stage;
use crate::site::Site;
use crate::site::reloads::Waiter;
use crate::site::status::Occupancy;

impl Server<'_> {
    /// Serves the clients of the control socket.
    pub(super) fn serve_control(&mut self) {
        // Taken out, because commands need the whole server.
        if let Some(mut control) = self.control.take() {
            control.serve(self.now(), |command| execute(self, command));
            self.control = Some(control);
        }
        self.perform_effects();
    }

    /// When a client of the control socket times out.
    pub(super) fn control_due(&self) -> Option<Duration> {
        self.control.as_ref()?.due(self.now())
    }

    /// Sends the service manager what it needs to know; returns when the next message is due.
    pub(super) fn inform_manager(&mut self) -> Option<Duration> {
        let is_up = self.stage == Stage::Up;
        if !is_up {
            self.systemd.stopping();
        }
        let (now, serving) = (self.now(), self.announced && is_up);
        let sites = &self.sites;
        self.systemd.inform(now, serving, || status_line(sites))
    }

    fn state(&self) -> &'static str {
        match self.stage {
            Stage::Up if !self.announced => "starting",
            Stage::Up if self.sites.iter().any(Site::is_reloading) => "reloading",
            Stage::Up => "serving",
            _ => "stopping",
        }
    }
}

impl Commands for Server<'_> {
    fn status(&self) -> Status {
        let consists: Vec<_> = self.sites.iter().map(Site::status).collect();
        let sites: Vec<_> = consists
            .iter()
            .map(|consists| consists.site.clone())
            .collect();
        let mut molds = Vec::new();
        let mut next_molds = Vec::new();
        let mut children = Vec::new();
        for consists in consists {
            molds.push(consists.mold);
            next_molds.push(consists.next_mold);
            children.extend(consists.children);
        }
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            application: self.settings.title.clone(),
            urls: self.listeners.iter().map(Listener::url).collect(),
            state: self.state().to_owned(),
            generation: sites.first().map_or(0, |site| site.generation),
            size: sites.iter().map(|site| site.size).sum(),
            threads: sites.first().map_or(0, |site| site.threads),
            busy: sites.iter().map(|site| site.busy).sum(),
            idle: sites.iter().map(|site| site.idle).sum(),
            waiting: sites.iter().map(|site| site.waiting).sum(),
            supervisor: SupervisorStatus {
                process: Process::of(std::process::id()),
            },
            front: self.front.as_ref().map(front_status),
            mold: molds.into_iter().flatten().next(),
            next_mold: next_molds.into_iter().flatten().next(),
            children,
            sites,
        }
    }

    fn stop(&mut self, now: bool) {
        self.handle_stop_signal(if now {
            Signal::SIGQUIT
        } else {
            Signal::SIGTERM
        });
    }

    fn reload(&mut self, waiter: Waiter) {
        let mut waiter = Some(waiter);
        for site in &mut self.sites {
            site.ask_for_reload("rwsgictl", waiter.take());
        }
    }

    fn scale(&mut self, children: u16) -> Result<(), String> {
        self.sites
            .iter_mut()
            .try_for_each(|site| site.scale(children))
    }
}

fn front_status(front: &Front) -> FrontStatus {
    let state = match front.serving {
        None => "starting",
        Some(_) if front.drain == Drain::Unasked => "serving",
        Some(_) => "draining",
    };
    FrontStatus {
        process: Process::of(front.pid.as_raw().cast_unsigned()),
        state: state.to_owned(),
    }
}

/// The load of the server, in one line.
fn status_line(sites: &[Site<'_>]) -> String {
    let (mut busy, mut idle, mut waiting, mut ready) = (0, 0, 0, 0);
    for Occupancy {
        busy: more_busy,
        idle: more_idle,
        waiting: more_waiting,
        ready: more_ready,
    } in sites.iter().map(Site::occupancy)
    {
        busy += more_busy;
        idle += more_idle;
        waiting += more_waiting;
        ready += more_ready;
    }
    format!("Serving: {busy} busy, {idle} idle, {waiting} waiting; {ready} processes ready")
}
