//! What the service manager is told, by the protocol of sd_notify(3): a datagram of lines for each change.

use std::ffi::OsString;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;
use tracing::warn;

/// How long the counts of the status may be out of date.
const STATUS_EVERY: Duration = Duration::from_secs(5);
/// What happens in between is told at most so often.
const STATUS_PAUSE: Duration = Duration::from_secs(1);
/// When to try again what the service manager had no room for.
const AGAIN: Duration = Duration::from_millis(100);

/// The way to the service manager, if there is one.
#[derive(Debug, Default)]
pub(crate) struct Notify {
    manager: Option<Manager>,
}

#[derive(Debug)]
struct Manager {
    socket: UnixDatagram,
    address: SocketAddr,
    /// What is still to be told, in order.
    owed: Vec<String>,
    /// How often it wants to hear that we live.
    watchdog: Option<Duration>,
    /// When it heard last.
    alive: Duration,
    status: String,
    /// When it was told the status last.
    told: Duration,
    told_ready: bool,
    told_stopping: bool,
}

impl Notify {
    /// The service manager that has started this process, by the variables of its environment.
    pub(crate) fn from_environment(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let Some(name) = variable("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Self::default();
        };
        match Manager::reach(&name, watchdog(&variable)) {
            Ok(manager) => Self {
                manager: Some(manager),
            },
            Err(problem) => {
                warn!(socket = ?name, error = %problem, "the service manager cannot be told anything");
                Self::default()
            }
        }
    }

    /// A new generation is being loaded; [`Notify::ready`] ends that.
    pub(crate) fn reloading(&mut self) {
        let Some(manager) = &mut self.manager else {
            return;
        };
        manager.told_ready = false;
        // The kernel always has this clock.
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from);
        let micros = now.unwrap_or_default().as_micros();
        manager.tell(format!(
            "RELOADING=1\nMONOTONIC_USEC={micros}\nSTATUS=Reloading\n"
        ));
    }

    /// The server serves, for the first time or after a reload.
    pub(crate) fn ready(&mut self) {
        let Some(manager) = &mut self.manager else {
            return;
        };
        if !std::mem::replace(&mut manager.told_ready, true) {
            let pid = std::process::id();
            manager.tell(format!("READY=1\nMAINPID={pid}\nSTATUS=Serving\n"));
        }
    }

    /// Another server goes on: what this one has to say from now on is nothing of the service's.
    pub(crate) fn hand_over(&mut self, successor: Pid) {
        if let Some(mut manager) = self.manager.take() {
            manager.tell(format!("MAINPID={successor}\n"));
        }
    }

    /// Tells what it has to know; returns when it has to be told something next. `serving`: as far as the server knows.
    pub(crate) fn inform(
        &mut self,
        now: Duration,
        serving: bool,
        status: impl FnOnce() -> String,
    ) -> Option<Duration> {
        let manager = self.manager.as_mut()?;
        let serving = serving && manager.told_ready;
        Some(manager.keep_informed(now, serving, status))
    }

    /// The server is about to end.
    pub(crate) fn stopping(&mut self) {
        let Some(manager) = &mut self.manager else {
            return;
        };
        if !std::mem::replace(&mut manager.told_stopping, true) {
            manager.tell("STOPPING=1\nSTATUS=Stopping\n".to_owned());
        }
    }
}

impl Manager {
    fn reach(name: &OsString, watchdog: Option<Duration>) -> io::Result<Self> {
        let bytes = name.as_bytes();
        let address = match bytes.strip_prefix(b"@") {
            Some(hidden) => SocketAddr::from_abstract_name(hidden)?,
            None if bytes.starts_with(b"/") => SocketAddr::from_pathname(name)?,
            None => {
                return Err(io::Error::other(
                    "NOTIFY_SOCKET is neither a path nor begins with @",
                ));
            }
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket,
            address,
            owed: Vec::new(),
            watchdog,
            alive: Duration::ZERO,
            status: String::new(),
            told: Duration::ZERO,
            told_ready: false,
            told_stopping: false,
        })
    }

    fn tell(&mut self, message: String) {
        self.owed.push(message);
        self.pass_on();
    }

    /// Sends what is owed as far as there is room for it.
    fn pass_on(&mut self) {
        while let Some(message) = self.owed.first() {
            match self.socket.send_to_addr(message.as_bytes(), &self.address) {
                Err(problem) if problem.kind() == io::ErrorKind::WouldBlock => return,
                Err(problem) => {
                    warn!(error = %problem, "the service manager cannot be told");
                    self.owed.clear();
                    return;
                }
                Ok(_) => drop(self.owed.remove(0)),
            }
        }
    }

    /// Tells what is due, and returns when something is due next.
    fn keep_informed(
        &mut self,
        now: Duration,
        serving: bool,
        status: impl FnOnce() -> String,
    ) -> Duration {
        self.pass_on();
        if let Some(every) = self.watchdog
            && (self.alive.is_zero() || now >= self.alive + every)
        {
            self.alive = now;
            // One that waits says the same.
            if self.owed.is_empty() {
                self.tell("WATCHDOG=1\n".to_owned());
            }
        }
        if serving && now >= self.told + STATUS_PAUSE {
            let status = status();
            if status != self.status {
                self.tell(format!("STATUS={status}\n"));
                self.status = status;
            }
            self.told = now;
        }
        let next = self.watchdog.map(|every| self.alive + every);
        let soon = if self.status.is_empty() {
            STATUS_PAUSE
        } else {
            STATUS_EVERY
        };
        let again = (!self.owed.is_empty()).then(|| now + AGAIN);
        [Some(self.told + soon).filter(|_| serving), next, again]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(Duration::MAX)
    }
}

/// How often the service manager wants to hear from this process: twice in the time that it waits.
fn watchdog(variable: &impl Fn(&str) -> Option<OsString>) -> Option<Duration> {
    let number = |name| variable(name)?.to_str()?.parse::<u64>().ok();
    let meant = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
    let micros = number("WATCHDOG_USEC").filter(|micros| meant && *micros > 0)?;
    Some(Duration::from_micros(micros) / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with<'a>(pairs: &'a [(&str, &str)]) -> impl Fn(&str) -> Option<OsString> + use<'a> {
        |name| {
            let found = pairs.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| value.into())
        }
    }

    fn hear(manager: &UnixDatagram) -> String {
        let mut bytes = [0; 256];
        let length = manager.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    }

    #[test]
    fn the_watchdog_is_ours_when_it_names_us_or_nobody() {
        let own = std::process::id().to_string();
        let every = |pairs: &[(&str, &str)]| watchdog(&with(pairs));
        let half = Some(Duration::from_secs(1));
        assert_eq!(every(&[("WATCHDOG_USEC", "2000000")]), half);
        assert_eq!(
            every(&[("WATCHDOG_USEC", "2000000"), ("WATCHDOG_PID", &own)]),
            half
        );
        assert_eq!(
            every(&[("WATCHDOG_USEC", "2000000"), ("WATCHDOG_PID", "1")]),
            None
        );
        for text in ["", "0", "-1", "soon"] {
            assert_eq!(every(&[("WATCHDOG_USEC", text)]), None);
        }
    }

    #[test]
    fn what_there_is_no_room_for_is_told_later_and_in_order() {
        let name = format!("rwsgi-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        let mut notify = Notify::from_environment(with(&[("NOTIFY_SOCKET", &format!("@{name}"))]));
        let ours = notify.manager.as_mut().unwrap();
        for number in 0..1000 {
            ours.tell(format!("STATUS={number}\n"));
        }
        assert!(
            !ours.owed.is_empty(),
            "the kernel has room for 1000 datagrams"
        );
        notify.ready();
        notify.ready();
        notify.stopping();
        notify.stopping();
        let ours = notify.manager.as_mut().unwrap();
        for number in 0..1000 {
            assert_eq!(hear(&manager), format!("STATUS={number}\n"));
            ours.pass_on();
        }
        assert!(hear(&manager).starts_with("READY=1\nMAINPID="));
        assert!(hear(&manager).starts_with("STOPPING=1\n"));
        assert!(ours.owed.is_empty());
    }

    #[test]
    fn a_manager_that_is_not_there_is_no_reason_to_stop() {
        for name in ["", "relative", "/nowhere/at/all"] {
            let mut notify = Notify::from_environment(with(&[("NOTIFY_SOCKET", name)]));
            notify.ready();
            notify.stopping();
        }
        assert!(Notify::from_environment(|_| None).manager.is_none());
    }
}
