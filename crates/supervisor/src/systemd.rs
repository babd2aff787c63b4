//! Notifies the service manager by the protocol of sd_notify(3): a datagram of lines for each change.

use std::ffi::OsString;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;
use tracing::warn;

/// The maximum age of the counts in the status.
const STATUS_EVERY: Duration = Duration::from_secs(5);
/// The minimum interval between status updates.
const STATUS_PAUSE: Duration = Duration::from_secs(1);
/// The delay of a retry when the socket was full.
const AGAIN: Duration = Duration::from_millis(100);

/// The socket of the service manager, if there is one.
#[derive(Debug, Default)]
pub(crate) struct Notify {
    manager: Option<Manager>,
}

#[derive(Debug)]
struct Manager {
    socket: UnixDatagram,
    address: SocketAddr,
    /// Messages to be sent, in order.
    owed: Vec<String>,
    /// The interval of watchdog messages.
    watchdog: Option<Duration>,
    /// When the last watchdog message was sent.
    alive: Duration,
    status: String,
    /// When the status was last sent.
    status_sent: Duration,
    is_ready_sent: bool,
    is_stopping_sent: bool,
}

impl Notify {
    /// The service manager from the environment of this process.
    pub(crate) fn from_environment(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let Some(name) = variable("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Self::default();
        };
        match Manager::connect(&name, watchdog(&variable)) {
            Ok(manager) => Self {
                manager: Some(manager),
            },
            Err(problem) => {
                warn!(socket = ?name, error = %problem, "the service manager cannot be told anything");
                Self::default()
            }
        }
    }

    /// A new generation is being loaded, until [`Notify::ready`].
    pub(crate) fn reloading(&mut self) {
        let Some(manager) = &mut self.manager else {
            return;
        };
        manager.is_ready_sent = false;
        // Linux always has this clock.
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from);
        let micros = now.unwrap_or_default().as_micros();
        manager.send(format!(
            "RELOADING=1\nMONOTONIC_USEC={micros}\nSTATUS=Reloading\n"
        ));
    }

    /// The server serves, for the first time or after a reload.
    pub(crate) fn ready(&mut self) {
        let Some(manager) = &mut self.manager else {
            return;
        };
        if !std::mem::replace(&mut manager.is_ready_sent, true) {
            let pid = std::process::id();
            manager.send(format!("READY=1\nMAINPID={pid}\nSTATUS=Serving\n"));
        }
    }

    /// Another server continues: further messages of this one do not concern the service.
    pub(crate) fn hand_over(&mut self, successor: Pid) {
        if let Some(mut manager) = self.manager.take() {
            manager.send(format!("MAINPID={successor}\n"));
        }
    }

    /// Sends what is due; returns when the next message is due. `serving`: the server's state.
    pub(crate) fn inform(
        &mut self,
        now: Duration,
        serving: bool,
        status: impl FnOnce() -> String,
    ) -> Option<Duration> {
        let manager = self.manager.as_mut()?;
        let serving = serving && manager.is_ready_sent;
        Some(manager.send_due(now, serving, status))
    }

    /// The server is about to end.
    pub(crate) fn stopping(&mut self) {
        let Some(manager) = &mut self.manager else {
            return;
        };
        if !std::mem::replace(&mut manager.is_stopping_sent, true) {
            manager.send("STOPPING=1\nSTATUS=Stopping\n".to_owned());
        }
    }
}

impl Manager {
    fn connect(name: &OsString, watchdog: Option<Duration>) -> io::Result<Self> {
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
            status_sent: Duration::ZERO,
            is_ready_sent: false,
            is_stopping_sent: false,
        })
    }

    fn send(&mut self, message: String) {
        self.owed.push(message);
        self.flush();
    }

    /// Sends the owed messages, as far as there is room.
    fn flush(&mut self) {
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

    /// Queues what is due, and returns when the next message is due.
    fn send_due(
        &mut self,
        now: Duration,
        serving: bool,
        status: impl FnOnce() -> String,
    ) -> Duration {
        self.flush();
        if let Some(every) = self.watchdog
            && (self.alive.is_zero() || now >= self.alive + every)
        {
            self.alive = now;
            // A queued one says the same.
            if self.owed.is_empty() {
                self.send("WATCHDOG=1\n".to_owned());
            }
        }
        if serving && now >= self.status_sent + STATUS_PAUSE {
            let status = status();
            if status != self.status {
                self.send(format!("STATUS={status}\n"));
                self.status = status;
            }
            self.status_sent = now;
        }
        let next = self.watchdog.map(|every| self.alive + every);
        let soon = if self.status.is_empty() {
            STATUS_PAUSE
        } else {
            STATUS_EVERY
        };
        let again = (!self.owed.is_empty()).then(|| now + AGAIN);
        [
            Some(self.status_sent + soon).filter(|_| serving),
            next,
            again,
        ]
        .into_iter()
        .flatten()
        .min()
        .unwrap_or(Duration::MAX)
    }
}

/// The interval of watchdog messages: half of the service manager's timeout.
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

    fn receive(manager: &UnixDatagram) -> String {
        let mut bytes = [0; 256];
        let length = manager.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    }

    #[test]
    fn the_watchdog_applies_when_it_names_this_process_or_none() {
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
    fn messages_without_room_are_sent_later_in_order() {
        let name = format!("rwsgi-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        let mut notify = Notify::from_environment(with(&[("NOTIFY_SOCKET", &format!("@{name}"))]));
        let ours = notify.manager.as_mut().unwrap();
        for number in 0..1000 {
            ours.send(format!("STATUS={number}\n"));
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
            assert_eq!(receive(&manager), format!("STATUS={number}\n"));
            ours.flush();
        }
        assert!(receive(&manager).starts_with("READY=1\nMAINPID="));
        assert!(receive(&manager).starts_with("STOPPING=1\n"));
        assert!(ours.owed.is_empty());
    }

    #[test]
    fn a_missing_manager_is_ignored() {
        for name in ["", "relative", "/nowhere/at/all"] {
            let mut notify = Notify::from_environment(with(&[("NOTIFY_SOCKET", name)]));
            notify.ready();
            notify.stopping();
        }
        assert!(Notify::from_environment(|_| None).manager.is_none());
    }
}
