//! Listening sockets: the supervisor opens them before it forks, and keeps them until the server ends.

pub(crate) mod address;
pub(crate) mod error;
pub(crate) mod unix;

use std::io;
use std::net::{Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{
    AddressFamily, Backlog, SockType, SockaddrLike, SockaddrStorage, bind, getsockname, getsockopt,
    listen, setsockopt, socket, sockopt,
};
use nix::sys::stat::Mode;

use crate::listen::address::Address;
use crate::listen::error::BindError;
use crate::listen::unix::{Access, Whose, listener_flags};
use crate::process::identity::{Group, Identity};
use crate::sys::socket::inherited;

/// The first descriptor that systemd passes.
const FIRST_FROM_SYSTEMD: RawFd = 3;

/// A listening socket. It is nonblocking and closed on exec.
#[derive(Debug)]
pub struct Listener {
    socket: OwnedFd,
    local: Local,
    file: Option<unix::File>,
}

/// The address of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Local {
    /// The address, with the port that the kernel has assigned.
    Tcp(SocketAddr),
    /// A unix socket; an abstract one begins with `@`, one without a name is empty.
    Unix(PathBuf),
}

impl Listener {
    /// Listens on every address that `address` resolves to; a host name may have several, and `[::]` includes those of
    /// IPv4, unless they are among the `others`. `user` is the user that serves, if it is not this process's.
    ///
    /// # Errors
    /// [`BindError`], with the reason.
    pub fn open(
        address: &Address,
        others: &[Address],
        backlog: u32,
        user: Option<&Identity>,
    ) -> Result<Vec<Self>, BindError> {
        match address {
            Address::Tcp { host, port } => {
                let is_ipv4_too = !others.iter().any(|other| is_ipv4_of(other, *port));
                open_host(host, *port, is_ipv4_too, backlog)
            }
            Address::Unix(place) => {
                let wrong = |problem| BindError::Group {
                    address: place.to_string(),
                    problem,
                };
                let group = place
                    .group
                    .as_deref()
                    .map(Group::find)
                    .transpose()
                    .map_err(wrong)?;
                let access = Access {
                    mode: Mode::from_bits_truncate(place.mode().into()),
                    group,
                };
                let backlog = backlog_of(backlog);
                let (socket, file) = unix::open(&place.path, access, backlog, user, Whose::Users)?;
                Ok(vec![Self {
                    socket,
                    local: Local::Unix(place.path.clone()),
                    file: Some(file),
                }])
            }
            Address::Fd(number) => Ok(vec![Self::inherit(*number)?]),
        }
    }

    /// The sockets that systemd passes to this process, by `LISTEN_PID` and `LISTEN_FDS`; none without them.
    ///
    /// # Errors
    /// [`BindError::NotListening`] for a descriptor that is not a listening stream socket.
    pub fn from_systemd(variable: impl Fn(&str) -> Option<String>) -> Result<Vec<Self>, BindError> {
        // The variables may be inherited from another process for which they were meant.
        if variable("LISTEN_PID").and_then(|pid| pid.parse().ok()) != Some(std::process::id()) {
            return Ok(Vec::new());
        }
        let count = variable("LISTEN_FDS")
            .and_then(|count| count.parse().ok())
            .unwrap_or(0);
        (FIRST_FROM_SYSTEMD..FIRST_FROM_SYSTEMD.saturating_add(count))
            .map(Self::inherit)
            .collect()
    }

    /// A listener of the server that this one takes over, with the file of its unix socket.
    pub(crate) fn take_over(number: RawFd, user: Option<&Identity>) -> Result<Self, BindError> {
        let mut listener = Self::inherit(number)?;
        if let Local::Unix(path) = &listener.local {
            listener.file = unix::File::of(path, user);
        }
        Ok(listener)
    }

    /// Whether [`Listener::open`] would open this listener for `address`; true when that is unknown.
    #[must_use]
    pub fn is_of(&self, address: &Address) -> bool {
        match (address, &self.local) {
            (Address::Tcp { host, port }, Local::Tcp(local)) => {
                let is_host = |found: SocketAddr| found.ip() == local.ip();
                (*port == 0 || *port == local.port())
                    && (host.as_str(), *port)
                        .to_socket_addrs()
                        .map_or(true, |mut found| found.any(is_host))
            }
            (Address::Unix(place), Local::Unix(local)) => place.path == *local,
            (Address::Fd(_), _) => true,
            _ => false,
        }
    }

    /// Sets the backlog.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn set_backlog(&self, backlog: u32) -> io::Result<()> {
        Ok(listen(&self.socket, backlog_of(backlog))?)
    }

    /// Its address.
    #[must_use]
    pub fn local(&self) -> &Local {
        &self.local
    }

    /// It is a unix socket.
    #[must_use]
    pub fn is_unix(&self) -> bool {
        matches!(self.local, Local::Unix(_))
    }

    /// Its URL for clients.
    #[must_use]
    pub fn url(&self) -> String {
        match &self.local {
            Local::Tcp(address) => format!("http://{address}"),
            Local::Unix(path) => format!("unix:{}", path.display()),
        }
    }

    /// The socket, for the process that accepts.
    #[must_use]
    pub fn into_socket(self) -> OwnedFd {
        self.socket
    }

    /// Removes the file of a unix socket that [`Listener::open`] has created, unless another socket has replaced
    /// it.
    pub fn remove_file(&self) {
        if let Some(file) = &self.file {
            file.remove();
        }
    }

    /// Changes the owner of the unix socket's file that [`Listener::open`] has created to the user that serves, as
    /// if this user had created it.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn give_to(&self, identity: &Identity) -> io::Result<()> {
        match &self.file {
            Some(file) => file.give(identity),
            None => Ok(()),
        }
    }

    fn inherit(number: RawFd) -> Result<Self, BindError> {
        let wrong = |_| BindError::NotListening(number);
        let socket = inherited(number).map_err(|_| BindError::NotListening(number))?;
        let is_stream = getsockopt(&socket, sockopt::SockType).map_err(wrong)? == SockType::Stream;
        let listens = getsockopt(&socket, sockopt::AcceptConn).map_err(wrong)?;
        if !is_stream || !listens {
            return Err(BindError::NotListening(number));
        }
        let flags = OFlag::from_bits_retain(fcntl(&socket, FcntlArg::F_GETFL).map_err(wrong)?);
        fcntl(&socket, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).map_err(wrong)?;
        let local = local_of(&socket)
            .map_err(wrong)?
            .ok_or(BindError::NotListening(number))?;
        Ok(Self {
            socket,
            local,
            file: None,
        })
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Whether an address stands for this port of IPv4.
fn is_ipv4_of(address: &Address, port: u16) -> bool {
    match address {
        Address::Tcp { host, port: other } => *other == port && host.parse::<Ipv6Addr>().is_err(),
        _ => false,
    }
}

/// Listens on all addresses of a host, and on the same port of each; with `is_ipv4_too`, `[::]` is for both families.
fn open_host(
    host: &str,
    port: u16,
    is_ipv4_too: bool,
    backlog: u32,
) -> Result<Vec<Listener>, BindError> {
    let unresolved = |source| BindError::Unresolved {
        host: host.to_owned(),
        source,
    };
    let mut addresses: Vec<_> = (host, port)
        .to_socket_addrs()
        .map_err(unresolved)?
        .collect();
    // IPv4 first: the start-up message shows the first address.
    addresses.sort_by_key(SocketAddr::is_ipv6);
    addresses.dedup();
    let mut listeners: Vec<Listener> = Vec::new();
    let mut missing = None;
    for mut address in addresses {
        // For port 0, the other addresses use the port that the first one was assigned.
        if let Some(Local::Tcp(first)) = listeners.first().map(Listener::local) {
            address.set_port(first.port());
        }
        match open_tcp(address, is_ipv4_too, backlog) {
            Ok(listener) => listeners.push(listener),
            // `localhost` has an IPv6 address even where the machine has no IPv6.
            Err(errno @ (Errno::EADDRNOTAVAIL | Errno::EAFNOSUPPORT)) => {
                missing = Some((address, errno))
            }
            Err(errno) => return Err(BindError::refused(&address, errno)),
        }
    }
    match missing {
        Some((address, errno)) if listeners.is_empty() => Err(BindError::refused(&address, errno)),
        _ if listeners.is_empty() => Err(unresolved(io::ErrorKind::NotFound.into())),
        _ => Ok(listeners),
    }
}

fn open_tcp(address: SocketAddr, is_ipv4_too: bool, backlog: u32) -> nix::Result<Listener> {
    let family = if address.is_ipv6() {
        AddressFamily::Inet6
    } else {
        AddressFamily::Inet
    };
    let socket = socket(family, SockType::Stream, listener_flags(), None)?;
    // Without this option, closing connections of a former server would keep the port taken.
    setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    if address.is_ipv6() {
        // `[::]` is for IPv4 as well, whatever net.ipv6.bindv6only says, unless that has a listener of its own. Any other address
        // is of one family.
        let is_alone = !(is_ipv4_too && address.ip().is_unspecified());
        setsockopt(&socket, sockopt::Ipv6V6Only, &is_alone)?;
    }
    bind(socket.as_raw_fd(), &SockaddrStorage::from(address))?;
    listen(&socket, backlog_of(backlog))?;
    let local = local_of(&socket)?.ok_or(Errno::EAFNOSUPPORT)?;
    Ok(Listener {
        socket,
        local,
        file: None,
    })
}

/// Limits the backlog to what the kernel accepts; the kernel silently reduces it further to its own limit.
fn backlog_of(backlog: u32) -> Backlog {
    i32::try_from(backlog)
        .ok()
        .and_then(|backlog| Backlog::new(backlog).ok())
        .unwrap_or(Backlog::MAXCONN)
}

/// The local address of a socket; `None` for an unsupported address family.
fn local_of(socket: &OwnedFd) -> nix::Result<Option<Local>> {
    let name: SockaddrStorage = getsockname(socket.as_raw_fd())?;
    let inet = name
        .as_sockaddr_in()
        .map(|inet| SocketAddr::V4((*inet).into()));
    let inet = inet.or_else(|| {
        name.as_sockaddr_in6()
            .map(|inet| SocketAddr::V6((*inet).into()))
    });
    if let Some(address) = inet {
        return Ok(Some(Local::Tcp(address)));
    }
    if name.family() != Some(AddressFamily::Unix) {
        return Ok(None);
    }
    let unix = name.as_unix_addr();
    let path = unix.and_then(|unix| unix.path()).map(Path::to_path_buf);
    let hidden = || {
        unix.and_then(|unix| unix.as_abstract())
            .map(|name| format!("@{}", String::from_utf8_lossy(name)))
    };
    Ok(Some(Local::Unix(
        path.unwrap_or_else(|| hidden().unwrap_or_default().into()),
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::IntoRawFd;

    fn open(address: &str) -> Result<Vec<Listener>, BindError> {
        Listener::open(&address.parse().unwrap(), &[], 511, None)
    }

    fn port(listener: &Listener) -> u16 {
        match listener.local() {
            Local::Tcp(address) => address.port(),
            Local::Unix(_) => panic!("a unix socket"),
        }
    }

    #[test]
    fn port_zero_picks_one_and_the_url_names_it() {
        let listeners = open("127.0.0.1:0").unwrap();
        let port = port(&listeners[0]);
        assert_ne!(port, 0);
        assert_eq!(listeners[0].url(), format!("http://127.0.0.1:{port}"));
        assert!(!listeners[0].is_unix());
        TcpStream::connect(("127.0.0.1", port)).unwrap();
    }

    #[test]
    fn a_listener_neither_blocks_nor_is_inherited() {
        let listeners = open("127.0.0.1:0").unwrap();
        let flags = OFlag::from_bits_retain(fcntl(&listeners[0], FcntlArg::F_GETFL).unwrap());
        assert!(flags.contains(OFlag::O_NONBLOCK));
        assert_eq!(
            fcntl(&listeners[0], FcntlArg::F_GETFD).unwrap(),
            libc::FD_CLOEXEC
        );
    }

    #[test]
    fn an_address_that_is_taken_is_in_use() {
        let first = open("127.0.0.1:0").unwrap();
        let error = open(&format!("127.0.0.1:{}", port(&first[0]))).unwrap_err();
        assert!(error.is_in_use());
        assert_eq!(
            error.to_string(),
            format!("127.0.0.1:{} is in use", port(&first[0]))
        );
    }

    #[test]
    fn a_name_stands_for_all_its_addresses_with_one_port() {
        let listeners = open("localhost:0").unwrap();
        assert!(
            listeners
                .iter()
                .all(|listener| port(listener) == port(&listeners[0]))
        );
        assert!(listeners[0].url().starts_with("http://127.0.0.1:"));
    }

    #[test]
    fn an_address_that_the_machine_lacks_is_not_in_use() {
        let error = open("192.0.2.1:0").unwrap_err();
        assert!(!error.is_in_use());
        assert_eq!(error.to_string(), "cannot listen on 192.0.2.1:0");
    }

    #[test]
    fn a_listening_socket_is_inherited_with_its_address() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let listeners = Listener::open(&Address::Fd(socket.into_raw_fd()), &[], 511, None).unwrap();
        assert_eq!(listeners[0].local(), &Local::Tcp(address));
        let flags = OFlag::from_bits_retain(fcntl(&listeners[0], FcntlArg::F_GETFL).unwrap());
        assert!(flags.contains(OFlag::O_NONBLOCK));
    }

    #[test]
    fn a_descriptor_that_does_not_listen_is_refused() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(server.local_addr().unwrap()).unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        for number in [client.into_raw_fd(), file.into_raw_fd(), 0, 1_000_000] {
            let error = Listener::open(&Address::Fd(number), &[], 511, None).unwrap_err();
            assert!(
                matches!(error, BindError::NotListening(named) if named == number),
                "{error}"
            );
        }
    }

    #[test]
    fn systemd_sockets_for_another_process_are_ignored() {
        let with = |pid: String| {
            move |name: &str| match name {
                "LISTEN_PID" => Some(pid.clone()),
                "LISTEN_FDS" => Some("0".to_owned()),
                _ => None,
            }
        };
        assert!(Listener::from_systemd(|_| None).unwrap().is_empty());
        assert!(
            Listener::from_systemd(with("1".to_owned()))
                .unwrap()
                .is_empty()
        );
        assert!(
            Listener::from_systemd(with(std::process::id().to_string()))
                .unwrap()
                .is_empty()
        );
    }
}
