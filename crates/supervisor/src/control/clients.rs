//! The control socket and those who are connected to it.

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use nix::poll::PollFlags;
use nix::sys::socket::{Backlog, getsockopt, sockopt};
use nix::sys::stat::Mode;
use tracing::{debug, warn};

use crate::control::{Answer, Command};
use crate::identity::Identity;
use crate::listeners::BindError;
use crate::unix_socket;

/// Clients at the same time; further ones wait in the backlog.
const MOST: usize = 16;
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
    file: unix_socket::File,
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

/// Where an answer will be that takes its time.
pub(crate) type Pending = Rc<RefCell<Option<Answer>>>;

#[derive(Debug)]
struct Client {
    stream: UnixStream,
    state: State,
}

#[derive(Debug)]
enum State {
    /// It says its command.
    Speaking { said: Vec<u8>, until: Duration },
    /// It waits for its answer.
    Waiting(Pending),
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
    /// Listens on `path`, for the user of `identity` or of this process, and for root.
    ///
    /// # Errors
    /// [`BindError`], by what is in the way.
    pub fn open(path: &Path, identity: Option<&Identity>) -> Result<Self, BindError> {
        let (socket, file) = unix_socket::open(
            path,
            Mode::S_IRUSR | Mode::S_IWUSR,
            Backlog::new(16).unwrap_or(Backlog::MAXCONN),
        )?;
        if let Some(Err(source)) = identity.map(|identity| identity.give(file.path())) {
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
    pub fn open_beside(path: &Path, identity: Option<&Identity>) -> Result<Self, BindError> {
        let mut beside = path.as_os_str().to_owned();
        beside.push(format!(".{}", std::process::id()));
        let mut control = Self::open(Path::new(&beside), identity)?;
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
        let lets_in = self.clients.len() < MOST && now >= self.closed_until;
        let door = lets_in.then(|| (self.listener.as_fd(), PollFlags::POLLIN));
        let clients = self.clients.iter().map(|client| {
            let flags = match client.state {
                State::Speaking { .. } => PollFlags::POLLIN,
                State::Listening { .. } => PollFlags::POLLOUT,
                // That it hangs up is told in any case.
                State::Waiting(_) | State::Staying | State::Gone => PollFlags::empty(),
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
                State::Waiting(answer) => answer.borrow().as_ref().map(|_| now),
                _ => client.until(),
            });
        let door = Some(self.closed_until).filter(|until| *until > now);
        limits.chain(door).min()
    }

    /// Does for each client what can be done without waiting; `obey` carries a command out.
    pub(crate) fn serve(&mut self, now: Duration, mut obey: impl FnMut(Command) -> Reply) {
        self.let_in(now);
        for client in &mut self.clients {
            client.go_on(now, &mut obey);
        }
        self.clients
            .retain(|client| !matches!(client.state, State::Gone));
    }

    fn let_in(&mut self, now: Duration) {
        while self.clients.len() < MOST && now >= self.closed_until {
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
            State::Waiting(_) | State::Staying | State::Gone => None,
        }
    }

    fn go_on(&mut self, now: Duration, obey: &mut impl FnMut(Command) -> Reply) {
        if self.until().is_some_and(|until| now >= until) {
            debug!("a client of the control socket takes too long");
            self.state = State::Gone;
        }
        if let Some(line) = self.hear() {
            let reply = match serde_json::from_slice(&line) {
                Ok(command) => obey(command),
                Err(problem) => Reply::Now(Answer::Failed {
                    reason: format!("this is no command: {problem}"),
                    traceback: None,
                }),
            };
            match reply {
                Reply::Now(answer) => self.begin_answer(&answer, false, now),
                Reply::AndStay(answer) => self.begin_answer(&answer, true, now),
                Reply::Later(pending) => self.state = State::Waiting(pending),
            }
        }
        if let State::Waiting(pending) = &self.state {
            let answer = pending.take();
            if let Some(answer) = answer {
                self.begin_answer(&answer, false, now);
            }
        }
        self.speak();
        if matches!(self.state, State::Waiting(_) | State::Staying) && self.has_hung_up() {
            self.state = State::Gone;
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
        // Nothing in an answer cannot be written as JSON.
        let mut answer = serde_json::to_vec(answer).unwrap_or_default();
        answer.push(b'\n');
        self.state = State::Listening {
            answer,
            taken: 0,
            until: now + PATIENCE,
            stays,
        };
    }

    fn speak(&mut self) {
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

    /// It has closed its end. What it still says is not listened to.
    fn has_hung_up(&mut self) -> bool {
        let mut part = [0; 64];
        match self.stream.read(&mut part) {
            Ok(0) => true,
            Ok(_) => false,
            Err(problem) => problem.kind() != io::ErrorKind::WouldBlock,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Door {
        control: Control,
        _folder: tempfile::TempDir,
        pending: Pending,
    }

    impl Door {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let control = Control::open(&folder.path().join("s"), None).unwrap();
            Self {
                control,
                _folder: folder,
                pending: Pending::default(),
            }
        }

        fn client(&self) -> UnixStream {
            UnixStream::connect(self.control.path()).unwrap()
        }

        fn serve(&mut self, seconds: u64) {
            let pending = Rc::clone(&self.pending);
            self.control
                .serve(Duration::from_secs(seconds), |command| match command {
                    Command::Status => Reply::Now(done("status")),
                    Command::Stop { .. } => Reply::AndStay(done("stop")),
                    Command::Reload => Reply::Later(Rc::clone(&pending)),
                    Command::Scale { .. } => Reply::Now(done("scale")),
                });
        }
    }

    fn done(message: &str) -> Answer {
        Answer::Done {
            message: message.to_owned(),
        }
    }

    fn rest(mut client: UnixStream) -> String {
        let mut text = String::new();
        client.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn a_command_may_come_in_pieces_and_is_answered_once() {
        let mut door = Door::new();
        let mut client = door.client();
        for piece in [&b"{\"command\":"[..], b"\"status\"}", b"\n{}\n"] {
            door.serve(0);
            client.write_all(piece).unwrap();
        }
        door.serve(0);
        assert_eq!(
            rest(client),
            "{\"answer\":\"done\",\"message\":\"status\"}\n"
        );
        assert!(door.control.clients.is_empty());
    }

    #[test]
    fn what_is_no_command_is_said_so() {
        let mut door = Door::new();
        let mut client = door.client();
        client.write_all(b"GET / HTTP/1.1\r\n").unwrap();
        door.serve(0);
        assert!(rest(client).contains("this is no command: "));
    }

    #[test]
    fn who_says_too_much_or_takes_too_long_is_left() {
        let mut door = Door::new();
        let (mut loud, silent) = (door.client(), door.client());
        loud.write_all(&[b'x'; LONGEST + 1]).unwrap();
        door.serve(0);
        assert_eq!(rest(loud), "");
        assert_eq!(door.control.due(Duration::ZERO), Some(PATIENCE));
        door.serve(PATIENCE.as_secs());
        assert_eq!(rest(silent), "");
        assert_eq!(door.control.due(Duration::ZERO), None);
    }

    #[test]
    fn further_clients_wait_until_there_is_room() {
        let mut door = Door::new();
        let mut clients: Vec<_> = (0..=MOST).map(|_| door.client()).collect();
        door.serve(0);
        assert_eq!(door.control.clients.len(), MOST);
        // The door is not waited at, since nobody is let in.
        assert_eq!(door.control.sources(Duration::ZERO).len(), MOST);
        let mut last = clients.pop().unwrap();
        last.write_all(b"{\"command\":\"status\"}\n").unwrap();
        drop(clients);
        door.serve(0);
        door.serve(0);
        assert!(rest(last).contains("status"));
    }

    #[test]
    fn who_waits_for_the_end_hears_of_it() {
        let mut door = Door::new();
        let (mut stays, mut leaves) = (door.client(), door.client());
        for client in [&mut stays, &mut leaves] {
            client.write_all(b"{\"command\":\"stop\"}\n").unwrap();
        }
        door.serve(0);
        drop(leaves);
        door.serve(3600);
        assert_eq!(door.control.clients.len(), 1);
        door.control.clients.clear();
        assert!(rest(stays).contains("stop"));
    }

    #[test]
    fn an_answer_that_takes_its_time_is_waited_for() {
        let mut door = Door::new();
        let (mut stays, mut leaves) = (door.client(), door.client());
        for client in [&mut stays, &mut leaves] {
            client.write_all(b"{\"command\":\"reload\"}\n").unwrap();
        }
        door.serve(0);
        drop(leaves);
        door.serve(3600);
        assert_eq!(door.control.clients.len(), 1);
        let now = Duration::from_secs(3600);
        assert_eq!(door.control.due(now), None);
        *door.pending.borrow_mut() = Some(done("reload"));
        assert_eq!(door.control.due(now), Some(now));
        door.serve(3600);
        assert!(rest(stays).contains("reload"));
    }

    #[test]
    fn who_takes_over_has_the_place_when_it_serves() {
        let former = Door::new();
        let place = former.control.path().to_owned();
        let mut next = Control::open_beside(&place, None).unwrap();
        assert_ne!(next.path(), place);
        next.take_place();
        assert_eq!(next.path(), place);
        former.control.remove_file();
        UnixStream::connect(&place).unwrap();
        next.remove_file();
        assert!(!place.exists());
    }

    #[test]
    fn the_socket_is_its_owners_alone() {
        let door = Door::new();
        assert_eq!(mode_of(door.control.path()), 0o600);
        door.control.remove_file();
        assert!(!door.control.path().exists());
    }

    #[test]
    fn whoever_opens_beside_us_changes_nothing() {
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        let door = Door::new();
                        assert_eq!(mode_of(door.control.path()), 0o600);
                        door.control.remove_file();
                    }
                });
            }
        });
    }

    fn mode_of(path: &Path) -> u32 {
        use std::os::unix::fs::PermissionsExt;
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }
}
