//! Clients that send too little, too much or nothing, and the answers that they get.

use super::*;

struct Door {
    control: Control,
    _folder: tempfile::TempDir,
    pending: Pending,
}

impl Door {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let control = Control::open(&folder.path().join("s"), None, None).unwrap();
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
fn an_invalid_command_is_answered_with_an_error() {
    let mut door = Door::new();
    let mut client = door.client();
    client.write_all(b"GET / HTTP/1.1\r\n").unwrap();
    door.serve(0);
    assert!(rest(client).contains("this is no command: "));
}

#[test]
fn long_commands_and_slow_clients_are_disconnected() {
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
    // The listener is not polled while no further client is accepted.
    assert_eq!(door.control.sources(Duration::ZERO).len(), MOST);
    let mut last = clients.pop().unwrap();
    last.write_all(b"{\"command\":\"status\"}\n").unwrap();
    drop(clients);
    door.serve(0);
    door.serve(0);
    assert!(rest(last).contains("status"));
}

#[test]
fn a_client_that_waits_for_the_end_gets_its_answer() {
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
fn a_late_answer_is_delivered() {
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
fn waiting_clients_get_progress_also_with_a_closed_sending_side() {
    let mut door = Door::new();
    let client = door.client();
    (&client).write_all(b"{\"command\":\"reload\"}\n").unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    door.serve(0);
    door.pending.set_progress("one");
    assert_eq!(door.control.due(Duration::ZERO), Some(Duration::ZERO));
    door.serve(0);
    assert_eq!(door.control.due(Duration::ZERO), None);
    door.pending.set_progress("two");
    door.serve(0);
    door.pending.set_progress("three");
    door.pending.end(done("reload"));
    door.serve(0);
    let received: Vec<_> = rest(client).lines().map(str::to_owned).collect();
    let progress = |what| format!("{{\"answer\":\"progress\",\"message\":\"{what}\"}}");
    assert_eq!(received[..3], ["one", "two", "three"].map(progress));
    assert_eq!(received[3], "{\"answer\":\"done\",\"message\":\"reload\"}");
}

#[test]
fn a_slow_client_gets_only_whole_lines() {
    let mut door = Door::new();
    let mut client = door.client();
    client.write_all(b"{\"command\":\"reload\"}\n").unwrap();
    let long = "x".repeat(10_000);
    for _ in 0..100 {
        door.serve(0);
        door.pending.set_progress(&long);
    }
    door.serve(0);
    assert_eq!(door.control.due(Duration::ZERO), None);
    door.pending.end(done("reload"));
    door.serve(0);
    // The answer is being sent: its timeout has begun.
    assert_eq!(door.control.due(Duration::ZERO), Some(PATIENCE));
    let received = std::thread::scope(|scope| {
        let reader = scope.spawn(|| rest(client));
        while !door.control.clients.is_empty() {
            door.serve(0);
            std::thread::yield_now();
        }
        reader.join().unwrap()
    });
    let lines: Vec<_> = received.lines().collect();
    let (last, before) = lines.split_last().unwrap();
    assert!(last.contains("done"));
    assert!((1..100).contains(&before.len()));
    assert!(before.iter().all(|line| line.contains(long.as_str())));
}

#[test]
fn waiting_clients_do_not_lock_others_out() {
    let mut door = Door::new();
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
fn a_successor_gets_the_path_when_it_serves() {
    let former = Door::new();
    let place = former.control.path().to_owned();
    let mut next = Control::open_beside(&place, None, None).unwrap();
    assert_ne!(next.path(), place);
    next.take_place();
    assert_eq!(next.path(), place);
    former.control.remove_file();
    UnixStream::connect(&place).unwrap();
    next.remove_file();
    assert!(!place.exists());
}

#[test]
fn the_socket_is_private_to_its_owner() {
    let door = Door::new();
    assert_eq!(mode_of(door.control.path()), 0o600);
    door.control.remove_file();
    assert!(!door.control.path().exists());
}

#[test]
fn opening_beside_another_socket_leaves_it_unchanged() {
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
