//! The server that takes over the listeners: how it is started, and how it reports that it serves.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::{Pid, dup};

use crate::config::Program;
use crate::listen::Listener;
use crate::listen::error::BindError;
use crate::process::identity::Identity;
use crate::sys::descriptors::Inheritable;
use crate::sys::socket::inherited;

/// The variable for a handover: the descriptor for the report, then those of the listeners.
pub const VARIABLE: &str = "_RWSGI_TAKE_OVER";

/// What a server inherits from its predecessor.
#[derive(Debug)]
pub struct Inheritance {
    /// The listeners.
    pub listeners: Vec<Listener>,
    report: OwnedFd,
}

/// A successor that has been started.
#[derive(Debug)]
pub(crate) struct Successor {
    pub(crate) pid: Pid,
    /// `None` once the other end was closed.
    pub(crate) report: Option<io::PipeReader>,
    pub(crate) since: Duration,
}

impl Inheritance {
    /// Takes over what the variable names; `None` without it.
    ///
    /// # Errors
    /// When a named descriptor was not passed.
    pub fn take(value: Option<&str>, user: Option<&Identity>) -> Result<Option<Self>, BindError> {
        let Some(value) = value else { return Ok(None) };
        let mut numbers = value.split(',').map(|number| number.parse().unwrap_or(-1));
        let number: RawFd = numbers.next().unwrap_or(-1);
        let report = inherited(number).map_err(|_| BindError::NotListening(number))?;
        let listeners = numbers.map(|number| Listener::take_over(number, user));
        let listeners: Result<_, _> = listeners.collect();
        Ok(Some(Self {
            listeners: listeners?,
            report,
        }))
    }

    /// Separates the listeners.
    pub fn split(self) -> (Vec<Listener>, Predecessor) {
        (self.listeners, Predecessor(self.report))
    }
}

/// The server from which this one has taken over.
#[derive(Debug)]
pub struct Predecessor(OwnedFd);

impl Predecessor {
    /// Reports that this server serves, so that the predecessor exits.
    pub fn relieve(self) {
        // Fails when the predecessor has gone.
        let _ = nix::unistd::write(&self.0, b"!");
    }
}

/// Starts the successor.
pub(crate) fn start(
    program: &Program,
    listeners: &[Listener],
    since: Duration,
) -> io::Result<Successor> {
    let (report, end) = io::pipe()?;
    let flags = OFlag::from_bits_retain(fcntl(&report, FcntlArg::F_GETFL)?);
    fcntl(&report, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    // Copies for the program to inherit, kept until it has been started.
    let handed_over: Vec<OwnedFd> = std::iter::once(end.as_fd())
        .chain(listeners.iter().map(AsFd::as_fd))
        .map(dup)
        .collect::<Result<_, _>>()?;
    let numbers: Vec<_> = handed_over
        .iter()
        .map(|descriptor| descriptor.as_raw_fd().to_string())
        .collect();
    std::fs::metadata(&program.folder).map_err(|problem| {
        let folder = program.folder.display();
        io::Error::other(format!("the folder {folder} cannot be entered: {problem}"))
    })?;
    let mut command = Command::new(&program.path);
    if let Some((name, arguments)) = program.arguments.split_first() {
        std::os::unix::process::CommandExt::arg0(&mut command, name);
        command.args(arguments);
    }
    let _inheritable = Inheritable::these(&program.descriptors)?;
    let child = command
        .current_dir(&program.folder)
        .env_clear()
        .envs(program.environment.iter().cloned())
        // It reads the name of its folder from this variable.
        .env("PWD", &program.folder)
        .env(VARIABLE, numbers.join(","))
        // The service manager will watch the successor instead.
        .env_remove("WATCHDOG_PID")
        .stdin(Stdio::null())
        .spawn()?;
    Ok(Successor {
        pid: Pid::from_raw(child.id().cast_signed()),
        report: Some(report),
        since,
    })
}
