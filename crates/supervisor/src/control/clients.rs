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
use crate::identity::Identity;
use crate::listeners::BindError;
use crate::unix_socket;

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
        let lets_in = self.has_room() && now >= self.closed_until;
        let door = lets_in.then(|| (self.listener.as_fd(), PollFlags::POLLIN));
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

    /// Does for each client what can be done without waiting; `obey` carries a command out.
    pub(crate) fn serve(&mut self, now: Duration, mut obey: impl FnMut(Command) -> Reply) {
        self.let_in(now);
        let mut waiting = self.waiting();
        for client in &mut self.clients {
            let waits = client.waits();
            client.go_on(now, waiting < MOST_WAITING, &mut obey);
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

    fn go_on(&mut self, now: Duration, may_wait: bool, obey: &mut impl FnMut(Command) -> Reply) {
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
            let pending = self.pending.clone();
            self.control
                .serve(Duration::from_secs(seconds), |command| match command {
                    Command::Status => Reply::Now(done("status")),
                    Command::Stop { .. } => Reply::AndStay(done("stop")),
                    Command::Reload => Reply::Later(pending.clone()),
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
        door.pending.end(done("reload"));
        assert_eq!(door.control.due(now), Some(now));
        door.serve(3600);
        assert!(rest(stays).contains("reload"));
    }

    #[test]
    fn who_waits_is_told_what_for_and_one_that_has_said_everything_waits_on() {
        let mut door = Door::new("news");
        let client = door.client();
        (&client).write_all(b"{\"command\":\"reload\"}\n").unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        door.serve(0);
        door.pending.say("one");
        assert_eq!(door.control.due(Duration::ZERO), Some(Duration::ZERO));
        door.serve(0);
        assert_eq!(door.control.due(Duration::ZERO), None);
        door.pending.say("two");
        door.serve(0);
        door.pending.say("three");
        door.pending.end(done("reload"));
        door.serve(0);
        let said: Vec<_> = rest(client).lines().map(str::to_owned).collect();
        let progress = |what| format!("{{\"answer\":\"progress\",\"message\":\"{what}\"}}");
        assert_eq!(said[..3], ["one", "two", "three"].map(progress));
        assert_eq!(said[3], "{\"answer\":\"done\",\"message\":\"reload\"}");
    }

    #[test]
    fn a_client_that_takes_nothing_is_told_whole_lines_only() {
        let mut door = Door::new("deaf");
        let mut client = door.client();
        client.write_all(b"{\"command\":\"reload\"}\n").unwrap();
        let long = "x".repeat(10_000);
        for _ in 0..100 {
            door.serve(0);
            door.pending.say(&long);
        }
        door.serve(0);
        assert_eq!(door.control.due(Duration::ZERO), None);
        door.pending.end(done("reload"));
        door.serve(0);
        // Its answer is on the way: from now on its time counts.
        assert_eq!(door.control.due(Duration::ZERO), Some(PATIENCE));
        let said = std::thread::scope(|scope| {
            let reader = scope.spawn(|| rest(client));
            while !door.control.clients.is_empty() {
                door.serve(0);
                std::thread::yield_now();
            }
            reader.join().unwrap()
        });
        let lines: Vec<_> = said.lines().collect();
        let (last, before) = lines.split_last().unwrap();
        assert!(last.contains("done"));
        assert!((1..100).contains(&before.len()));
        assert!(before.iter().all(|line| line.contains(long.as_str())));
    }

    #[test]
    fn those_who_wait_keep_nobody_out() {
        let mut door = Door::new("waiting");
        let mut waiting = Vec::new();
        for _ in 0..=MOST_WAITING {
            let mut client = door.client();
            client.write_all(b"{\"command\":\"reload\"}\n").unwrap();
            door.serve(0);
            waiting.push(client);
        }
        let last = waiting.pop().unwrap();
        assert!(rest(last).contains("64 clients wait already"));
        let mut asks = door.client();
        asks.write_all(b"{\"command\":\"status\"}\n").unwrap();
        door.serve(0);
        assert!(rest(asks).contains("status"));
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
