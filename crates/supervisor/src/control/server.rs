//! The control socket and its clients.

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{Backlog, getsockopt, sockopt};
use nix::sys::stat::Mode;
use tracing::{debug, warn};

use crate::control::{Answer, Command};
use crate::listen::error::BindError;
use crate::listen::unix::{self, Access, Whose};
use crate::process::identity::{Group, Identity};

/// Clients at the same time that send a command or read an answer; further ones wait in the backlog.
const MOST: usize = 16;
/// Clients at the same time that wait for a command that takes time. They do not count against [`MOST`].
const MOST_WAITING: usize = 64;
/// The maximum length of a command in bytes.
const LONGEST: usize = 4096;
/// How long a client may take to send its command, and to read its answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long no connection is accepted after `accept` has failed.
const PAUSE: Duration = Duration::from_secs(1);

/// The control socket.
#[derive(Debug)]
pub struct Control {
    listener: UnixListener,
    file: unix::File,
    /// Its final path, to which it is moved once this server serves.
    place: Option<PathBuf>,
    clients: Vec<Client>,
    /// No connection is accepted before this time.
    closed_until: Duration,
}

/// When the answer to a command is available.
pub(crate) enum Reply {
    /// At once.
    Now(Answer),
    /// At once, and the connection stays open until the server ends.
    AndStay(Answer),
    /// Later.
    Later(Pending),
}

/// The future answer of a command that takes time, and its progress.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pending(Rc<RefCell<News>>);

#[derive(Debug, Default)]
struct News {
    message: Option<String>,
    answer: Option<Answer>,
}

impl Pending {
    /// Sets the progress line.
    pub(crate) fn set_progress(&self, message: &str) {
        self.0.borrow_mut().message = Some(message.to_owned());
    }

    /// Sets the answer.
    pub(crate) fn end(&self, answer: Answer) {
        self.0.borrow_mut().answer = Some(answer);
    }

    fn take(&self) -> News {
        self.0.take()
    }

    fn is_ready(&self) -> bool {
        let state = self.0.borrow();
        state.message.is_some() || state.answer.is_some()
    }
}

#[derive(Debug)]
struct Client {
    stream: UnixStream,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Its command is being received.
    Receiving { received: Vec<u8>, until: Duration },
    /// It waits for its answer; `owed` is the unsent part of a progress line.
    Waiting { pending: Pending, owed: Vec<u8> },
    /// Its answer is being sent.
    Answering {
        answer: Vec<u8>,
        taken: usize,
        until: Duration,
        stays: bool,
    },
    /// It waits for the server's end.
    Staying,
    /// It is to be removed.
    Gone,
}

impl Control {
    /// Listens on `path`, for this process's user, for root, and for `group` if there is one.
    ///
    /// # Errors
    /// [`BindError`], with the reason.
    pub fn open(
        path: &Path,
        group: Option<Group>,
        user: Option<&Identity>,
    ) -> Result<Self, BindError> {
        let own = Mode::S_IRUSR | Mode::S_IWUSR;
        let mode = group.map_or(own, |_| own | Mode::S_IRGRP | Mode::S_IWGRP);
        let backlog = Backlog::new(16).unwrap_or(Backlog::MAXCONN);
        let access = Access { mode, group };
        let (socket, file) = unix::open(path, access, backlog, user, Whose::Ours)?;
        if file.is_in_reach() {
            let path = path.display();
            warn!(%path, "--user can put another socket in the place of the control socket: a folder of root's is safer");
        }
        Ok(Self {
            listener: socket.into(),
            file,
            place: None,
            clients: Vec::new(),
            closed_until: Duration::ZERO,
        })
    }

    /// Listens beside `path`, where another server has its socket until this one takes over.
    ///
    /// # Errors
    /// [`BindError`], with the reason.
    pub fn open_beside(
        path: &Path,
        group: Option<Group>,
        user: Option<&Identity>,
    ) -> Result<Self, BindError> {
        let mut beside = path.as_os_str().to_owned();
        beside.push(format!(".{}", std::process::id()));
        let mut control = Self::open(Path::new(&beside), group, user)?;
        control.place = Some(path.to_owned());
        Ok(control)
    }

    /// Moves to the path of the server that was taken over.
    pub(crate) fn take_place(&mut self) {
        if let Some(place) = self.place.take()
            && let Err(problem) = self.file.rename(&place)
        {
            warn!(path = %place.display(), error = %problem, "cannot take the place of the control socket");
        }
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Removes the file, unless another socket has replaced it.
    pub fn remove_file(&self) {
        self.file.remove();
    }

    /// The descriptors to poll.
    pub(crate) fn sources(&self, now: Duration) -> Vec<(BorrowedFd<'_>, PollFlags)> {
        let admits = self.has_room() && now >= self.closed_until;
        let door = admits.then(|| (self.listener.as_fd(), PollFlags::POLLIN));
        let clients = self.clients.iter().map(|client| {
            let flags = match client.state {
                State::Receiving { .. } => PollFlags::POLLIN,
                State::Answering { .. } => PollFlags::POLLOUT,
                State::Waiting { ref owed, .. } if !owed.is_empty() => PollFlags::POLLOUT,
                // `poll` reports a hang-up in any case.
                State::Waiting { .. } | State::Staying | State::Gone => PollFlags::empty(),
            };
            (client.stream.as_fd(), flags)
        });
        door.into_iter().chain(clients).collect()
    }

    /// When the next client times out, or connections are accepted again.
    pub(crate) fn due(&self, now: Duration) -> Option<Duration> {
        let limits = self
            .clients
            .iter()
            .filter_map(|client| match &client.state {
                State::Waiting { pending, .. } => pending.is_ready().then_some(now),
                _ => client.until(),
            });
        let door = Some(self.closed_until).filter(|until| *until > now);
        limits.chain(door).min()
    }

    /// Serves each client as far as possible without blocking; `execute` executes a command.
    pub(crate) fn serve(&mut self, now: Duration, mut execute: impl FnMut(Command) -> Reply) {
        self.accept_clients(now);
        let mut waiting = self.waiting();
        for client in &mut self.clients {
            let waits = client.waits();
            client.go_on(now, waiting < MOST_WAITING, &mut execute);
            waiting += usize::from(client.waits());
            waiting -= usize::from(waits);
        }
        self.clients
            .retain(|client| !matches!(client.state, State::Gone));
    }

    fn waiting(&self) -> usize {
        self.clients.iter().filter(|client| client.waits()).count()
    }

    fn has_room(&self) -> bool {
        self.clients.len() - self.waiting() < MOST
    }

    fn accept_clients(&mut self, now: Duration) {
        while self.has_room() && now >= self.closed_until {
            let accepted = self.listener.accept().and_then(|(stream, _)| {
                stream.set_nonblocking(true)?;
                Ok(stream)
            });
            match accepted {
                Ok(stream) => self.clients.push(Client {
                    stream,
                    state: State::Receiving {
                        received: Vec::new(),
                        until: now + PATIENCE,
                    },
                }),
                Err(problem) if problem.kind() == io::ErrorKind::WouldBlock => return,
                Err(problem) if problem.kind() == io::ErrorKind::Interrupted => {}
                Err(problem) => {
                    // Mostly because descriptors have run out: retrying at once would loop.
                    warn!(error = %problem, "nobody is let in at the control socket");
                    self.closed_until = now + PAUSE;
                }
            }
        }
    }
}

/// The process that listens on a unix socket.
#[must_use]
pub fn listener_of(path: &Path) -> Option<u32> {
    let stream = UnixStream::connect(path).ok()?;
    let peer = getsockopt(&stream, sockopt::PeerCredentials).ok()?;
    Some(peer.pid().cast_unsigned())
}

impl Client {
    fn until(&self) -> Option<Duration> {
        match self.state {
            State::Receiving { until, .. } | State::Answering { until, .. } => Some(until),
            State::Waiting { .. } | State::Staying | State::Gone => None,
        }
    }

    /// It waits for a command that takes time.
    fn waits(&self) -> bool {
        matches!(self.state, State::Waiting { .. } | State::Staying)
    }

    fn go_on(&mut self, now: Duration, may_wait: bool, execute: &mut impl FnMut(Command) -> Reply) {
        if self.until().is_some_and(|until| now >= until) {
            debug!("a client of the control socket takes too long");
            self.state = State::Gone;
        }
        if let Some(line) = self.receive() {
            let reply = match serde_json::from_slice(&line) {
                Ok(command) => execute(command),
                Err(problem) => Reply::Now(Answer::Failed {
                    reason: format!("this is no command: {problem}"),
                    traceback: None,
                }),
            };
            match reply {
                Reply::Now(answer) => self.begin_answer(&answer, false, now),
                Reply::AndStay(answer) => self.begin_answer(&answer, may_wait, now),
                Reply::Later(pending) if may_wait => {
                    let owed = Vec::new();
                    self.state = State::Waiting { pending, owed };
                }
                Reply::Later(_) => self.begin_answer(&too_many(), false, now),
            }
        }
        self.take_news(now);
        self.send();
        if self.waits() && self.has_hung_up() {
            self.state = State::Gone;
        }
    }

    /// Begins to send the answer if it is available, or the progress line, unless the last line has not been read.
    fn take_news(&mut self, now: Duration) {
        let State::Waiting { pending, owed } = &mut self.state else {
            return;
        };
        let News { message, answer } = pending.take();
        if let Some(message) = message
            && owed.is_empty()
        {
            *owed = line(&Answer::Progress { message });
        }
        if let Some(answer) = answer {
            // A line that has been begun is completed first.
            let before = std::mem::take(owed);
            self.begin_answer(&answer, false, now);
            if let State::Answering { answer, .. } = &mut self.state {
                answer.splice(..0, before);
            }
        }
    }

    /// The command, once its line is complete.
    fn receive(&mut self) -> Option<Vec<u8>> {
        let State::Receiving { received, .. } = &mut self.state else {
            return None;
        };
        let mut part = [0; LONGEST];
        loop {
            match self.stream.read(&mut part) {
                // End of input ends the command, too.
                Ok(0) if !received.is_empty() => return Some(std::mem::take(received)),
                Ok(0) => break,
                Ok(length) => {
                    received.extend_from_slice(&part[..length]);
                    if let Some(end) = received.iter().position(|byte| *byte == b'\n') {
                        received.truncate(end);
                        return Some(std::mem::take(received));
                    }
                    if received.len() > LONGEST {
                        break;
                    }
                }
                Err(problem) if problem.kind() == io::ErrorKind::Interrupted => {}
                Err(problem) if problem.kind() == io::ErrorKind::WouldBlock => return None,
                Err(_) => break,
            }
        }
        self.state = State::Gone;
        None
    }

    fn begin_answer(&mut self, answer: &Answer, stays: bool, now: Duration) {
        self.state = State::Answering {
            answer: line(answer),
            taken: 0,
            until: now + PATIENCE,
            stays,
        };
    }

    fn send(&mut self) {
        if let State::Waiting { owed, .. } = &mut self.state
            && !owed.is_empty()
        {
            match self.stream.write(owed) {
                Ok(length) => drop(owed.drain(..length)),
                Err(problem) if problem.kind() == io::ErrorKind::WouldBlock => {}
                Err(problem) if problem.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => self.state = State::Gone,
            }
        }
        while let State::Answering {
            answer,
            taken,
            stays,
            ..
        } = &mut self.state
        {
            match self.stream.write(&answer[*taken..]) {
                Ok(length) if *taken + length < answer.len() => *taken += length,
                Ok(_) if *stays => self.state = State::Staying,
                Ok(_) => self.state = State::Gone,
                Err(problem) if problem.kind() == io::ErrorKind::Interrupted => {}
                Err(problem) if problem.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.state = State::Gone,
            }
        }
    }

    /// It has closed both directions. A client that has shut down only its sending side still waits for its answer.
    fn has_hung_up(&self) -> bool {
        let mut ends = [PollFd::new(self.stream.as_fd(), PollFlags::empty())];
        let polled = poll(&mut ends, PollTimeout::ZERO);
        polled.is_ok_and(|found| found > 0)
    }
}

fn line(answer: &Answer) -> Vec<u8> {
    // An answer can always be written as JSON.
    let mut line = serde_json::to_vec(answer).unwrap_or_default();
    line.push(b'\n');
    line
}

fn too_many() -> Answer {
    Answer::Failed {
        reason: format!(
            "asked for, but {MOST_WAITING} clients wait already: the status tells when it is done"
        ),
        traceback: None,
    }
}

#[cfg(test)]
mod tests;
