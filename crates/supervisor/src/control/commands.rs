//! What the supervisor does when it is told to over the control socket.

use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use tracing::info;

use crate::control::server::{Pending, Reply};
use crate::control::{
    Answer, ChildStatus, Command, FrontStatus, MoldStatus, Process, Status, SupervisorStatus,
};
use crate::listen::Listener;
use crate::server::Monitor;
use crate::server::stage::Stage;
use crate::site::reloads::{News, Reloaded};
use crate::site::slots::{Child, Drain, Front, Mold, Phase, Slot};

impl Monitor<'_> {
    /// Serves whoever is connected to the control socket.
    pub(crate) fn serve_control(&mut self) {
        // Taken out, since commands are carried out by all of the supervisor.
        if let Some(mut control) = self.control.take() {
            control.serve(self.now(), |command| self.execute(command));
            self.control = Some(control);
        }
    }

    /// When a client of the control socket has taken too long.
    pub(crate) fn control_due(&self) -> Option<Duration> {
        self.control.as_ref()?.due(self.now())
    }

    fn execute(&mut self, command: Command) -> Reply {
        match command {
            Command::Status => Reply::Now(Answer::Status(Box::new(self.status()))),
            Command::Stop { now } => {
                info!(now, "told to stop over the control socket");
                self.asked_to_stop(if now {
                    Signal::SIGQUIT
                } else {
                    Signal::SIGTERM
                });
                let message = "stopping".to_owned();
                Reply::AndStay(Answer::Done { message })
            }
            Command::Reload => {
                let pending = Pending::default();
                let answer = pending.clone();
                let tell = move |news: News<'_>| match news {
                    News::GoesOn(message) => answer.say(message),
                    News::Ended(outcome) => answer.end(outcome_of(outcome)),
                };
                self.ask_for_reload("rwsgictl", Some(Box::new(tell)));
                Reply::Later(pending)
            }
            Command::Scale { children: 0 } => Reply::Now(Answer::Failed {
                reason: "a pool has at least one process".to_owned(),
                traceback: None,
            }),
            Command::Scale { children } => Reply::Now(match self.scale(children) {
                Ok(()) => Answer::Done {
                    message: format!("scaled to {children}"),
                },
                Err(reason) => Answer::Failed {
                    reason,
                    traceback: None,
                },
            }),
        }
    }

    /// What the server consists of and how busy it is.
    pub(crate) fn status(&self) -> Status {
        let load = self.exchange.load();
        let threads = u16::from(self.exchange.geometry().threads);
        let children: Vec<_> = self
            .slots
            .iter()
            .filter_map(Slot::child)
            .map(|child| {
                let slot = child.id.slot;
                let busy = load.busy.get(usize::from(slot)).copied();
                self.child_status(child, busy.unwrap_or_default())
            })
            .collect();
        let ready = children.iter().filter(|child| child.state == "ready");
        let idle = ready.map(|child| u32::from(threads.saturating_sub(child.busy)));
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            application: self.settings.title.clone(),
            urls: self.listeners.iter().map(Listener::url).collect(),
            state: self.state().to_owned(),
            generation: self.generation,
            size: self.size(),
            threads,
            busy: load.busy.iter().copied().map(u32::from).sum(),
            idle: idle.sum(),
            waiting: load.waiting(),
            supervisor: SupervisorStatus {
                process: Process::of(std::process::id()),
            },
            front: self.front.as_ref().map(front_status),
            mold: self.mold.as_ref().map(mold_status),
            next_mold: self.next_mold.as_ref().map(mold_status),
            children,
        }
    }

    fn state(&self) -> &'static str {
        match self.stage {
            Stage::Up if !self.startup.announced => "starting",
            Stage::Up if self.is_reloading() => "reloading",
            Stage::Up => "serving",
            _ => "stopping",
        }
    }

    fn child_status(&self, child: &Child, busy: u16) -> ChildStatus {
        let state = match child.phase {
            _ if child.leaving => "leaving",
            Phase::Ready => "ready",
            Phase::Ordered | Phase::Starting => "starting",
        };
        let slot = child.id.slot;
        ChildStatus {
            slot,
            process: Process::of(child.pid.map_or(0, number)),
            generation: child.generation,
            state: state.to_owned(),
            busy,
            served: self.exchange.board().served(slot),
        }
    }
}

fn outcome_of(outcome: &Reloaded) -> Answer {
    match outcome {
        Reloaded::Done {
            generation,
            need_restart,
        } => {
            let mut message = format!("reloaded: generation {generation} serves");
            if !need_restart.is_empty() {
                message += "; changed but needs a restart: ";
                message += &need_restart.join(", ");
            }
            Answer::Done { message }
        }
        Reloaded::Unfinished { why } => Answer::Failed {
            reason: why.clone(),
            traceback: None,
        },
        Reloaded::Failed { why, .. } => {
            let why = why.trim_end();
            let last = why.lines().last().unwrap_or_default();
            Answer::Failed {
                reason: format!("the reload failed, the old generation serves on: {last}"),
                traceback: (last != why).then(|| why.to_owned()),
            }
        }
    }
}

fn front_status(front: &Front) -> FrontStatus {
    let state = match front.serving {
        None => "starting",
        Some(_) if front.drain == Drain::Unasked => "serving",
        Some(_) => "draining",
    };
    FrontStatus {
        process: Process::of(number(front.pid)),
        state: state.to_owned(),
    }
}

fn mold_status(mold: &Mold) -> MoldStatus {
    let state = match mold.ready {
        _ if mold.leaving => "leaving",
        Some(_) => "ready",
        None => "loading",
    };
    MoldStatus {
        process: Process::of(number(mold.pid)),
        generation: mold.generation,
        state: state.to_owned(),
    }
}

fn number(pid: Pid) -> u32 {
    pid.as_raw().cast_unsigned()
}
