//! USR2: another server, of whatever program is now where this one was started from, takes the listeners over.
//!
//! It is started with the same arguments, inherits the listeners and one end of a pipe, and writes into the pipe when it
//! serves. Until then nothing here has changed; then this server finishes what it has begun and leaves.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::{Pid, dup};
use tracing::{error, info, warn};

use crate::family::kill_now;
use crate::identity::Identity;
use crate::listeners::{BindError, Listener};
use crate::monitor::Monitor;
use crate::stopping::Stage;
use crate::sys::descriptors::Inheritable;
use crate::sys::socket::inherited;
use crate::sys::wait::Exit;

/// The variable by which a server hands over: the descriptor to report to, then those of the listeners.
pub const VARIABLE: &str = "_RWSGI_TAKE_OVER";

/// How this program was started: so it is started again.
#[derive(Clone, Debug)]
pub struct Program {
    /// The program, as a path that holds whatever folder is the current one.
    pub path: PathBuf,
    /// Its arguments, the name of the program first.
    pub arguments: Vec<OsString>,
    /// The folder in which it was started.
    pub folder: PathBuf,
    /// Its environment.
    pub environment: Vec<(OsString, OsString)>,
    /// Descriptors that it was started with and needs again, by the same numbers.
    pub descriptors: Vec<RawFd>,
}

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
    pid: Pid,
    /// Gone once it has been closed at the other end.
    report: Option<io::PipeReader>,
    since: Duration,
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

impl Monitor<'_> {
    /// Starts another server.
    pub(crate) fn upgrade(&mut self) {
        if self.stage != Stage::Up || !self.startup.announced || self.successor.is_some() {
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

    /// The end of the pipe on which the other server reports.
    pub(crate) fn successor_report(&self) -> Option<BorrowedFd<'_>> {
        Some(self.successor.as_ref()?.report.as_ref()?.as_fd())
    }

    /// Hears that the other server serves, or has closed the pipe.
    pub(crate) fn hear_successor(&mut self) {
        let Some(successor) = &mut self.successor else {
            return;
        };
        let Some(report) = &mut successor.report else {
            return;
        };
        match report.read(&mut [0; 8]) {
            Ok(1..) => {
                info!(pid = successor.pid.as_raw(), "another server serves");
                self.notify.hand_over(successor.pid);
                self.successor = None;
                self.leave_to_successor();
            }
            // It has ended, and SIGCHLD is about to say so; if not, it will be too late at some time.
            Ok(0) => successor.report = None,
            Err(_) => {}
        }
    }

    /// When the other server has taken too long.
    pub(crate) fn successor_due(&self) -> Option<Duration> {
        let successor = self.successor.as_ref()?;
        Some(successor.since + self.settings.startup_timeout)
    }

    /// Gives up on another server that does not come to serve in time.
    pub(crate) fn judge_successor(&mut self) {
        if self.successor_due().is_some_and(|due| due <= self.now()) {
            self.give_successor_up("it does not serve within the startup timeout");
        }
    }

    pub(crate) fn is_successor(&self, pid: Pid) -> bool {
        self.successor
            .as_ref()
            .is_some_and(|successor| successor.pid == pid)
    }

    pub(crate) fn bury_successor(&mut self, exit: Exit) {
        self.hear_successor();
        if self.successor.take().is_some() {
            let cause = exit.to_string();
            error!(
                cause,
                "the other server ended before it served: this one serves on"
            );
        }
    }

    pub(crate) fn break_off_upgrade(&mut self) {
        self.give_successor_up("this one is stopping");
    }

    fn give_successor_up(&mut self, reason: &str) {
        if let Some(successor) = self.successor.take() {
            let pid = successor.pid.as_raw();
            error!(pid, reason, "the other server is given up");
            // Its processes follow it.
            kill_now(successor.pid);
        }
    }
}

fn start(program: &Program, listeners: &[Listener], since: Duration) -> io::Result<Successor> {
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
