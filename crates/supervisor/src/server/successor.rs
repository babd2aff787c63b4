//! Another server that takes the listeners over: how it is started, and how it says that it serves.

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

/// The variable by which a server hands over: the descriptor to report to, then those of the listeners.
pub const VARIABLE: &str = "_RWSGI_TAKE_OVER";

/// What a server has been handed over by its predecessor.
#[derive(Debug)]
pub struct Inheritance {
    /// The listeners.
    pub listeners: Vec<Listener>,
    report: OwnedFd,
}

/// The other server on its way.
#[derive(Debug)]
pub(crate) struct Successor {
    pub(crate) pid: Pid,
    /// Gone once it has been closed at the other end.
    pub(crate) report: Option<io::PipeReader>,
    pub(crate) since: Duration,
}

impl Inheritance {
    /// Takes over what the variable tells of; nothing without it.
    ///
    /// # Errors
    /// When it tells of what was not handed over.
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

    /// Splits off the listeners.
    pub fn split(self) -> (Vec<Listener>, Predecessor) {
        (self.listeners, Predecessor(self.report))
    }
}

/// The server from which this one has taken over.
#[derive(Debug)]
pub struct Predecessor(OwnedFd);

impl Predecessor {
    /// Tells it that this server serves: it may leave.
    pub fn relieve(self) {
        // One that is gone needs no telling.
        let _ = nix::unistd::write(&self.0, b"!");
    }
}

/// Starts it.
pub(crate) fn start(
    program: &Program,
    listeners: &[Listener],
    since: Duration,
) -> io::Result<Successor> {
    let (report, end) = io::pipe()?;
    let flags = OFlag::from_bits_retain(fcntl(&report, FcntlArg::F_GETFL)?);
    fcntl(&report, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    // Copies that a program inherits, for as long as it takes to start it.
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
        // It has the folder from its name, too.
        .env("PWD", &program.folder)
        .env(VARIABLE, numbers.join(","))
        // It will be the process that the service manager watches.
        .env_remove("WATCHDOG_PID")
        .stdin(Stdio::null())
        .spawn()?;
    Ok(Successor {
        pid: Pid::from_raw(child.id().cast_signed()),
        report: Some(report),
        since,
    })
}
