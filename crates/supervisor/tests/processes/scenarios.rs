//! The scenarios: what happens to the server, and the expected result.

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A timeout: no step takes longer unless it hangs.
const PATIENCE: Duration = Duration::from_secs(20);

type Scenario = (&'static str, fn());

const SCENARIOS: &[Scenario] = &[
    (
        "a_server_serves_and_stops_gracefully",
        a_server_serves_and_stops_gracefully,
    ),
    (
        "titles_tell_role_slot_and_generation",
        titles_tell_role_slot_and_generation,
    ),
    ("a_killed_child_is_replaced", a_killed_child_is_replaced),
    (
        "a_killed_mold_is_rebuilt_and_children_live_on",
        a_killed_mold_is_rebuilt_and_children_live_on,
    ),
    (
        "a_killed_front_is_started_again",
        a_killed_front_is_started_again,
    ),
    (
        "a_killed_supervisor_leaves_no_process",
        a_killed_supervisor_leaves_no_process,
    ),
    ("quit_stops_at_once", quit_stops_at_once),
    (
        "a_slow_import_is_stopped_at_once",
        a_slow_import_is_stopped_at_once,
    ),
    (
        "a_second_interrupt_stops_at_once",
        a_second_interrupt_stops_at_once,
    ),
    (
        "the_shutdown_timeout_ends_a_graceful_stop",
        the_shutdown_timeout_ends_a_graceful_stop,
    ),
    (
        "an_application_that_cannot_be_loaded_ends_the_server",
        an_application_that_cannot_be_loaded_ends_the_server,
    ),
    (
        "children_that_cannot_share_load_for_themselves",
        children_that_cannot_share_load_for_themselves,
    ),
    (
        "a_child_has_no_descriptor_that_is_not_its_own",
        a_child_has_no_descriptor_that_is_not_its_own,
    ),
    (
        "programs_inherit_neither_signals_nor_descriptors",
        programs_inherit_neither_signals_nor_descriptors,
    ),
    (
        "a_child_that_does_not_leave_is_killed_in_time",
        a_child_that_does_not_leave_is_killed_in_time,
    ),
    (
        "reloads_end_although_no_child_leaves",
        reloads_end_although_no_child_leaves,
    ),
    (
        "a_reload_without_a_free_slot_sleeps_and_ends",
        a_reload_without_a_free_slot_sleeps_and_ends,
    ),
    (
        "a_mold_that_is_stopped_is_replaced",
        a_mold_that_is_stopped_is_replaced,
    ),
    (
        "a_new_mold_that_hangs_at_its_first_fork_leaves_nothing",
        a_new_mold_that_hangs_at_its_first_fork_leaves_nothing,
    ),
    (
        "only_the_supervisor_acts_upon_signals",
        only_the_supervisor_acts_upon_signals,
    ),
];

/// Runs the scenarios whose names contain `filter`.
pub(crate) fn run(filter: Option<&str>) -> ExitCode {
    close_inherited();
    let mut failed = false;
    for (name, scenario) in SCENARIOS {
        if filter.is_none_or(|filter| name.contains(filter)) {
            let fine = std::panic::catch_unwind(scenario).is_ok();
            println!("test {name} ... {}", if fine { "ok" } else { "FAILED" });
            failed |= !fine;
        }
    }
    ExitCode::from(u8::from(failed))
}

/// Closes descriptors that the test runner has left open, so that those open in a server are the server's own.
fn close_inherited() {
    let open = std::fs::read_dir("/proc/self/fd").unwrap();
    let numbers: Vec<i32> = open
        .map(|entry| {
            entry
                .unwrap()
                .file_name()
                .to_str()
                .unwrap()
                .parse()
                .unwrap()
        })
        .collect();
    for number in numbers.into_iter().filter(|number| *number > 2) {
        // The descriptor of the listing is closed already.
        let _ = nix::unistd::close(number);
    }
}

fn a_server_serves_and_stops_gracefully() {
    let mut server = Server::up(&[]);
    server.signal(Signal::SIGTERM);
    server.line("draining");
    server.line("drained");
    server.line("drained");
    server.ends_with(0);
}

fn titles_tell_role_slot_and_generation() {
    let server = Server::up(&[
        "with",
        "some",
        "further",
        "arguments",
        "so",
        "that",
        "there",
        "is",
        "room",
    ]);
    let title = |pid: i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap();
        String::from_utf8(line)
            .unwrap()
            .trim_end_matches('\0')
            .to_owned()
    };
    let name = |pid: i32| {
        std::fs::read_to_string(format!("/proc/{pid}/comm"))
            .unwrap()
            .trim_end()
            .to_owned()
    };
    assert_eq!(title(server.pid), "rwsgi: supervisor (test)");
    assert_eq!(title(server.front), "rwsgi: front (test)");
    assert_eq!(title(server.mold), "rwsgi: mold gen 1 (test)");
    assert_eq!(title(server.children[1]), "rwsgi: child 1 gen 1 (test)");
    assert_eq!(name(server.pid), "rwsgi:supervisr");
    assert_eq!(name(server.children[1]), "rwsgi:child1");
}

fn a_killed_child_is_replaced() {
    let mut server = Server::up(&[]);
    for slot in [1, 0, 1, 1] {
        server.kill(server.children[slot]);
        let child = server.child();
        assert_eq!(child.slot, slot);
        assert_ne!(child.pid, server.children[slot]);
        server.children[slot] = child.pid;
    }
    server.signal(Signal::SIGTERM);
    server.ends_with(0);
}

fn a_killed_mold_is_rebuilt_and_children_live_on() {
    let mut server = Server::up(&[]);
    server.kill(server.mold);
    let mold = server.number("mold");
    assert_ne!(mold, server.mold);
    server.signal(Signal::SIGTERM);
    server.line("drained");
    server.line("drained");
    server.ends_with(0);
}

fn a_killed_front_is_started_again() {
    let mut server = Server::up(&[]);
    server.kill(server.front);
    let front = server.number("front");
    assert_ne!(front, server.front);
    // The new front must clear the slot, otherwise there is no replacement.
    server.kill(server.children[0]);
    assert_eq!(server.child().slot, 0);
    // A child may die while there is no front.
    server.kill(front);
    server.kill(server.children[1]);
    server.line("front");
    assert_eq!(server.child().slot, 1);
    server.signal(Signal::SIGTERM);
    server.ends_with(0);
}

fn a_killed_supervisor_leaves_no_process() {
    let mut server = Server::up(&[]);
    server.kill(server.pid);
    server.all_processes_end();
}

fn quit_stops_at_once() {
    let mut server = Server::up(&["front-never-drains"]);
    server.signal(Signal::SIGQUIT);
    server.ends_with(0);
}

fn a_slow_import_is_stopped_at_once() {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT] {
        let mut server = Server::start(&["mold-never-ready"]);
        server.line("mold");
        server.signal(signal);
        server.ends_with(0);
    }
}

fn a_second_interrupt_stops_at_once() {
    let mut server = Server::up(&["front-never-drains"]);
    server.signal(Signal::SIGINT);
    server.line("draining");
    server.signal(Signal::SIGINT);
    server.ends_with(0);
}

fn the_shutdown_timeout_ends_a_graceful_stop() {
    let mut server = Server::up(&["front-never-drains", "short-stop"]);
    server.signal(Signal::SIGTERM);
    server.line("draining");
    server.ends_with(0);
}

fn an_application_that_cannot_be_loaded_ends_the_server() {
    for (options, code) in [
        (&["mold-unloadable"][..], 75),
        (&["mold-unloadable", "no-application"], 78),
        (&["mold-dies"], 75),
        (&["mold-never-ready", "impatient"], 75),
        (&["child-unloadable", "preload-off"], 75),
        (&["child-unloadable", "preload-off", "no-application"], 78),
        (&["child-dies", "preload-off", "impatient"], 75),
    ] {
        Server::start(options).ends_with(code);
    }
}

fn children_that_cannot_share_load_for_themselves() {
    let mut server = Server::start(&["mold-unshareable"]);
    assert!(server.line("mold").ends_with(" preload"));
    assert!(server.line("mold").ends_with(" plain"));
    server.line("serving");
    server.signal(Signal::SIGTERM);
    server.ends_with(0);
}

fn a_child_has_no_descriptor_that_is_not_its_own() {
    let mut server = Server::start(&["tell-descriptors"]);
    for _ in 0..2 {
        // Two descriptors of its channel: the application's handle, and the one kept until the process exits.
        assert_eq!(
            server.line("descriptors"),
            "descriptors application socket socket"
        );
    }
}

fn programs_inherit_neither_signals_nor_descriptors() {
    // Ignored signals, as left by a shell for a background job, and as Rust and Python start programs.
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", "trap '' INT QUIT PIPE; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap());
    let mut server = Server::spawn(&mut command, &["start-program"]);
    let line = server.line("program");
    let words: Vec<_> = line.split(' ').collect();
    let signals = |word: &str| u64::from_str_radix(word, 16).unwrap();
    // The C library does not let these two signals, 32 and 33, be changed, in case they were inherited as ignored.
    let its_own = 0b11 << 31;
    assert_eq!((words[1], signals(words[2])), ("SigBlk:", 0));
    assert_eq!((words[3], signals(words[4]) & !its_own), ("SigIgn:", 0));
    // The last number is the folder that `ls` itself reads.
    assert_eq!(words[5..], ["0", "1", "2", "3"]);
}

fn a_child_that_does_not_leave_is_killed_in_time() {
    let mut server = Server::up(&["child-never-leaves", "short-stop"]);
    server.signal(Signal::SIGTTOU);
    assert_eq!(server.line("drained"), "drained 1");
    server.is_reaped(server.children[1]);
    server.signal(Signal::SIGTTIN);
    server.child();
    // A stopped child reads no order.
    server.stop(server.children[0]);
    server.signal(Signal::SIGWINCH);
    server.is_reaped(server.children[0]);
    server.signal(Signal::SIGTERM);
    server.ends_with(0);
}

fn reloads_end_although_no_child_leaves() {
    let mut server = Server::up(&["child-never-leaves", "short-stop"]);
    for _ in 0..4 {
        server.signal(Signal::SIGHUP);
        // The lines may come in any order.
        let (mut born, mut drained) = (0, 0);
        while born < 2 || drained < 2 {
            let line = server.next().expect("the server serves");
            born += usize::from(line.starts_with("child"));
            drained += usize::from(line.starts_with("drained"));
        }
    }
    server.signal(Signal::SIGTERM);
    server.ends_with(0);
}

fn a_reload_without_a_free_slot_sleeps_and_ends() {
    let mut server = Server::up(&["child-never-leaves", "three-seconds"]);
    server.signal(Signal::SIGTTOU);
    server.line("drained");
    server.signal(Signal::SIGTTIN);
    server.child();
    // Two children serve and one does not exit: there are three slots.
    server.signal(Signal::SIGHUP);
    server.line("mold");
    let before = processor_time(server.pid);
    let started = Instant::now();
    server.child();
    assert!(
        started.elapsed() > Duration::from_secs(1),
        "it has not waited for a slot"
    );
    // A loop that does not sleep would use all of the time.
    let taken = processor_time(server.pid) - before;
    assert!(taken < Duration::from_millis(500), "{taken:?}");
    server.signal(Signal::SIGTERM);
    server.ends_with(0);
}

fn a_mold_that_is_stopped_is_replaced() {
    let mut server = Server::up(&["impatient"]);
    server.stop(server.mold);
    // Only the deadline ends this.
    server.kill(server.children[0]);
    assert_ne!(server.number("mold"), server.mold);
    assert_eq!(server.child().slot, 0);
    server.signal(Signal::SIGTERM);
    server.ends_with(0);
}

fn a_new_mold_that_hangs_at_its_first_fork_leaves_nothing() {
    let mut server = Server::up(&["fork-hangs-in-a-reload", "impatient"]);
    for _ in 0..3 {
        server.signal(Signal::SIGHUP);
        let mold = server.number("mold");
        let between = server.number("hangs");
        server.is_reaped(mold);
        server.is_reaped(between);
    }
    // The old generation has its mold.
    server.kill(server.children[0]);
    assert_eq!(server.child().slot, 0);
    server.signal(Signal::SIGTERM);
    server.ends_with(0);
}

/// The CPU time of a process.
fn processor_time(pid: i32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let behind = stat.rsplit(')').next().unwrap();
    let fields: Vec<_> = behind.split_whitespace().collect();
    let ticks: u64 = fields[11..13]
        .iter()
        .map(|field| field.parse::<u64>().unwrap())
        .sum();
    // A tick is a hundredth of a second in all of Linux's interfaces.
    Duration::from_millis(ticks * 10)
}

fn only_the_supervisor_acts_upon_signals() {
    let mut server = Server::up(&[]);
    for pid in [
        server.front,
        server.mold,
        server.children[0],
        server.children[1],
    ] {
        for signal in [
            Signal::SIGTERM,
            Signal::SIGINT,
            Signal::SIGQUIT,
            Signal::SIGHUP,
            Signal::SIGUSR1,
        ] {
            kill(Pid::from_raw(pid), signal).unwrap();
        }
    }
    server.signal(Signal::SIGTERM);
    for expected in ["draining", "drained", "drained"] {
        assert!(
            server.next().unwrap().starts_with(expected),
            "everybody is still there to be told"
        );
    }
    server.ends_with(0);
}

/// A running server, and its lines.
struct Server {
    process: Child,
    lines: Receiver<String>,
    pid: i32,
    front: i32,
    mold: i32,
    children: [i32; 2],
}

/// A child that has printed its line.
struct Born {
    slot: usize,
    pid: i32,
}

impl Server {
    fn start(options: &[&str]) -> Self {
        Self::spawn(&mut Command::new(std::env::current_exe().unwrap()), options)
    }

    fn spawn(command: &mut Command, options: &[&str]) -> Self {
        let mut process = command
            .arg("serve")
            .args(options)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let (sender, lines) = channel();
        let reader = std::thread::Builder::new().name("lines".to_owned());
        // Ends when the last process that could write has ended, or the receiver is dropped.
        let read = move || {
            output
                .lines()
                .map_while(Result::ok)
                .all(|line| sender.send(line).is_ok())
        };
        reader.spawn(read).unwrap();
        let pid = process.id().cast_signed();
        Self {
            process,
            lines,
            pid,
            front: 0,
            mold: 0,
            children: [0; 2],
        }
    }

    /// A server after all its processes have started.
    fn up(options: &[&str]) -> Self {
        let mut server = Self::start(options);
        let (mut serving, mut children) = (false, 0);
        while !serving || children < 2 {
            let line = server.next().expect("the server comes up");
            let words: Vec<_> = line.split(' ').collect();
            let number = |index: usize| words[index].parse::<i32>().unwrap();
            match words[0] {
                "serving" => serving = true,
                "front" => server.front = number(1),
                "mold" => server.mold = number(1),
                "child" => {
                    assert_eq!(number(3), server.pid, "a child is the supervisor's own");
                    server.children[words[1].parse::<usize>().unwrap()] = number(2);
                    children += 1;
                }
                _ => panic!("{line}"),
            }
        }
        server
    }

    /// The next line, or `None` when no process is left that could write one.
    fn next(&mut self) -> Option<String> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("nothing happens"),
        }
    }

    /// The next line that begins with `word`.
    fn line(&mut self, word: &str) -> String {
        loop {
            let line = self
                .next()
                .unwrap_or_else(|| panic!("the server ended without {word}"));
            if line.starts_with(word) {
                return line;
            }
        }
    }

    /// The number in the next line that begins with `word`.
    fn number(&mut self, word: &str) -> i32 {
        self.line(word).split(' ').nth(1).unwrap().parse().unwrap()
    }

    fn child(&mut self) -> Born {
        let line = self.line("child");
        let words: Vec<_> = line.split(' ').collect();
        Born {
            slot: words[1].parse().unwrap(),
            pid: words[2].parse().unwrap(),
        }
    }

    fn kill(&self, pid: i32) {
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    }

    /// Stops a process by SIGSTOP.
    fn stop(&self, pid: i32) {
        kill(Pid::from_raw(pid), Signal::SIGSTOP).unwrap();
    }

    /// Waits until there is no such process.
    fn is_reaped(&self, pid: i32) {
        let deadline = Instant::now() + PATIENCE;
        // Only a parent is notified of the end of a process, so this must poll.
        while kill(Pid::from_raw(pid), None).is_ok() {
            assert!(Instant::now() < deadline, "{pid} is still there");
            std::thread::yield_now();
        }
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid), signal).unwrap();
    }

    fn all_processes_end(&mut self) {
        while self.next().is_some() {}
    }

    /// No process is left, and the server has exited with this code, long before any timeout.
    fn ends_with(&mut self, code: i32) {
        let started = Instant::now();
        self.all_processes_end();
        let status = self.process.wait().unwrap();
        assert_eq!((status.code(), status.signal()), (Some(code), None));
        assert!(started.elapsed() < PATIENCE);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The other processes die with the supervisor.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
