//! The commands of the control socket, and who executes them.

use tracing::info;

use crate::control::server::{Pending, Reply};
use crate::control::{Answer, Command, Status};
use crate::site::reloads::{News, Reloaded, Waiter};

/// Executes commands.
pub(crate) trait Commands {
    /// The server's processes and load.
    fn status(&self) -> Status;

    /// Stops the server, at once or gracefully.
    fn stop(&mut self, now: bool);

    /// Requests a reload.
    fn reload(&mut self, waiter: Waiter);

    /// Changes the size of the pool.
    ///
    /// # Errors
    /// When the size is not possible, with the reason.
    fn scale(&mut self, children: u16) -> Result<(), String>;
}

/// Executes a command.
pub(crate) fn execute(commands: &mut dyn Commands, command: Command) -> Reply {
    match command {
        Command::Status => Reply::Now(Answer::Status(Box::new(commands.status()))),
        Command::Stop { now } => {
            info!(now, "told to stop over the control socket");
            commands.stop(now);
            let message = "stopping".to_owned();
            Reply::AndStay(Answer::Done { message })
        }
        Command::Reload => {
            let pending = Pending::default();
            let answer = pending.clone();
            let report = move |news: News<'_>| match news {
                News::GoesOn(message) => answer.set_progress(message),
                News::Ended(outcome) => answer.end(outcome_of(outcome)),
            };
            commands.reload(Box::new(report));
            Reply::Later(pending)
        }
        Command::Scale { children: 0 } => Reply::Now(Answer::Failed {
            reason: "a pool has at least one process".to_owned(),
            traceback: None,
        }),
        Command::Scale { children } => Reply::Now(match commands.scale(children) {
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
