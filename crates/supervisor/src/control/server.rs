//! The control socket and those who are connected to it.

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
use crate::listen::unix::{self, Whose};
use crate::process::identity::{Group, Identity};

/// Clients at the same time that say a command or take an answer; further ones wait in the backlog.
const MOST: usize = 16;
/// Clients at the same time that wait for what takes its time. They stand in nobody's way.
const MOST_WAITING: usize = 64;
/// No command is longer.
const LONGEST: usize = 4096;
/// How long a client may take to say its command, and to take its answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long nobody is let in after that has failed.
const PAUSE: Duration = Duration::from_secs(1);

/// The control socket.
#[derive(Debug)]
pub struct Control {
    listener: UnixListener,
    file: unix::File,
    /// Where it is to be once this server serves.
    place: Option<PathBuf>,
    clients: Vec<Client>,
    /// Nobody is let in before.
    closed_until: Duration,
}

/// How an answer comes.
pub(crate) enum Reply {
    /// At once.
    Now(Answer),
    /// At once, and the connection ends with the server.
    AndStay(Answer),
    /// As soon as it is there.
    Later(Pending),
}

/// Where an answer will be that takes its time, and what is said meanwhile.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pending(Rc<RefCell<News>>);

#[derive(Debug, Default)]
struct News {
    message: Option<String>,
    answer: Option<Answer>,
}

impl Pending {
    /// Says what the answer waits for.
    pub(crate) fn say(&self, message: &str) {
        self.0.borrow_mut().message = Some(message.to_owned());
    }

    /// Gives the answer.
    pub(crate) fn end(&self, answer: Answer) {
        self.0.borrow_mut().answer = Some(answer);
    }

    fn take(&self) -> News {
        self.0.take()
    }

    fn has_news(&self) -> bool {
        let news = self.0.borrow();
        news.message.is_some() || news.answer.is_some()
    }
}

#[derive(Debug)]
struct Client {
    stream: UnixStream,
    state: State,
}

#[derive(Debug)]
enum State {
    /// It says its command.
    Speaking { said: Vec<u8>, until: Duration },
    /// It waits for its answer, and has not taken all of what has been said meanwhile.
    Waiting { pending: Pending, owed: Vec<u8> },
    /// It takes its answer.
    Listening {
        answer: Vec<u8>,
        taken: usize,
        until: Duration,
        stays: bool,
    },
    /// It waits for the end of the server.
    Staying,
    /// It is to be forgotten.
    Gone,
}

impl Control {
    /// Listens on `path`, for the user of this process, for root, and for `group` if there is one.
    ///
    /// # Errors
    /// [`BindError`], by what is in the way.
    pub fn open(
        path: &Path,
        group: Option<Group>,
        user: Option<&Identity>,
    ) -> Result<Self, BindError> {
        let own = Mode::S_IRUSR | Mode::S_IWUSR;
        let mode = group.map_or(own, |_| own | Mode::S_IRGRP | Mode::S_IWGRP);
        let backlog = Backlog::new(16).unwrap_or(Backlog::MAXCONN);
        let (socket, file) = unix::open(path, mode, backlog, user, Whose::Ours)?;
        if file.is_in_reach() {
            let path = path.display();
            warn!(%path, "--user can put another socket in the place of the control socket: a folder of root's is safer");
        }
        let given = group.map(|group| file.give_to_group(group, mode));
        if let Some(Err(source)) = given {
            file.remove();
            let address = format!("unix:{}", path.display());
            return Err(BindError::Refused { address, source });
        }
        Ok(Self {
            listener: socket.into(),
            file,
            place: None,
            clients: Vec::new(),
            closed_until: Duration::ZERO,
        })
    }

    /// Listens beside `path`, where a server has its own until this one takes over.
    ///
    /// # Errors
    /// [`BindError`], by what is in the way.
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

    /// Takes the place of the server before this one.
    pub(crate) fn take_place(&mut self) {
        if let Some(place) = self.place.take()
            && let Err(problem) = self.file.rename(&place)
        {
            warn!(path = %place.display(), error = %problem, "cannot take the place of the control socket");
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Removes the file, unless another has taken its place.
    pub fn remove_file(&self) {
        self.file.remove();
    }

    /// What to wait for.
    pub(crate) fn sources(&self, now: Duration) -> Vec<(BorrowedFd<'_>, PollFlags)> {
        let admits = self.has_room() && now >= self.closed_until;
        let door = admits.then(|| (self.listener.as_fd(), PollFlags::POLLIN));
        let clients = self.clients.iter().map(|client| {
            let flags = match client.state {
                State::Speaking { .. } => PollFlags::POLLIN,
                State::Listening { .. } => PollFlags::POLLOUT,
                State::Waiting { ref owed, .. } if !owed.is_empty() => PollFlags::POLLOUT,
                // That it hangs up is told in any case.
                State::Waiting { .. } | State::Staying | State::Gone => PollFlags::empty(),
            };
            (client.stream.as_fd(), flags)
        });
        door.into_iter().chain(clients).collect()
    }

    /// When somebody has taken too long, or the door is open again.
    pub(crate) fn due(&self, now: Duration) -> Option<Duration> {
        let limits = self
            .clients
            .iter()
            .filter_map(|client| match &client.state {
                State::Waiting { pending, .. } => pending.has_news().then_some(now),
                _ => client.until(),
            });
        let door = Some(self.closed_until).filter(|until| *until > now);
        limits.chain(door).min()
    }

    /// Does for each client what can be done without waiting; `execute` carries a command out.
    pub(crate) fn serve(&mut self, now: Duration, mut execute: impl FnMut(Command) -> Reply) {
        self.let_in(now);
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

    fn let_in(&mut self, now: Duration) {
        while self.has_room() && now >= self.closed_until {
            let accepted = self.listener.accept().and_then(|(stream, _)| {
                stream.set_nonblocking(true)?;
                Ok(stream)
            });
            match accepted {
                Ok(stream) => self.clients.push(Client {
                    stream,
                    state: State::Speaking {
                        said: Vec::new(),
                        until: now + PATIENCE,
                    },
                }),
                Err(problem) if problem.kind() == io::ErrorKind::WouldBlock => return,
                Err(problem) if problem.kind() == io::ErrorKind::Interrupted => {}
                Err(problem) => {
                    // Out of descriptors, mostly: to try again at once would be to try for ever.
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
            State::Speaking { until, .. } | State::Listening { until, .. } => Some(until),
            State::Waiting { .. } | State::Staying | State::Gone => None,
        }
    }

    /// It waits for something that takes its time.
    fn waits(&self) -> bool {
        matches!(self.state, State::Waiting { .. } | State::Staying)
    }

    fn go_on(&mut self, now: Duration, may_wait: bool, execute: &mut impl FnMut(Command) -> Reply) {
        if self.until().is_some_and(|until| now >= until) {
            debug!("a client of the control socket takes too long");
            self.state = State::Gone;
        }
        if let Some(line) = self.hear() {
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
        self.hear_news(now);
        self.speak();
        if self.waits() && self.has_hung_up() {
            self.state = State::Gone;
        }
    }

    /// Begins the answer that it waits for, or says what that waits for, unless the last such line has not been taken.
    fn hear_news(&mut self, now: Duration) {
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
            // A line that has been begun is finished first.
            let before = std::mem::take(owed);
            self.begin_answer(&answer, false, now);
            if let State::Listening { answer, .. } = &mut self.state {
                answer.splice(..0, before);
            }
        }
    }

    /// The command, once its line is there.
    fn hear(&mut self) -> Option<Vec<u8>> {
        let State::Speaking { said, .. } = &mut self.state else {
            return None;
        };
        let mut part = [0; LONGEST];
        loop {
            match self.stream.read(&mut part) {
                // The end says as well that there is no more.
                Ok(0) if !said.is_empty() => return Some(std::mem::take(said)),
                Ok(0) => break,
                Ok(length) => {
                    said.extend_from_slice(&part[..length]);
                    if let Some(end) = said.iter().position(|byte| *byte == b'\n') {
                        said.truncate(end);
                        return Some(std::mem::take(said));
                    }
                    if said.len() > LONGEST {
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
        self.state = State::Listening {
            answer: line(answer),
            taken: 0,
            until: now + PATIENCE,
            stays,
        };
    }

    fn speak(&mut self) {
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
        while let State::Listening {
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

    /// It has closed its end. One that only says that it has said everything still wants its answer.
    fn has_hung_up(&self) -> bool {
        let mut ends = [PollFd::new(self.stream.as_fd(), PollFlags::empty())];
        let polled = poll(&mut ends, PollTimeout::ZERO);
        polled.is_ok_and(|found| found > 0)
    }
}

fn line(answer: &Answer) -> Vec<u8> {
    // Nothing in an answer cannot be written as JSON.
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
