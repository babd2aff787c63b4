//! Commands, as they are carried out.

use tracing::info;

use crate::control::server::{Pending, Reply};
use crate::control::{Answer, Command, Status};
use crate::site::reloads::{News, Reloaded, Waiter};

/// What commands are carried out by.
pub(crate) trait Commands {
    /// What the server consists of and how busy it is.
    fn status(&self) -> Status;

    /// Stops, at once or gracefully.
    fn stop(&mut self, now: bool);

    /// Asks for a reload.
    fn reload(&mut self, waiter: Waiter);

    /// Gives the pool another size.
    ///
    /// # Errors
    /// Why it cannot have that size.
    fn scale(&mut self, children: u16) -> Result<(), String>;
}

/// Carries a command out.
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
            let tell = move |news: News<'_>| match news {
                News::GoesOn(message) => answer.say(message),
                News::Ended(outcome) => answer.end(outcome_of(outcome)),
            };
            commands.reload(Box::new(tell));
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
