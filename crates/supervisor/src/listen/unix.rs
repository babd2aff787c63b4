//! Unix sockets in the file system: a stale socket is replaced; one in use, and any other file, is left alone.
//!
//! Root creates and removes them by a descriptor of the folder and a name in it. Only `bind` takes a whole path,
//! which is also the path that the kernel lists. Where the application's user could redirect that path meanwhile, a
//! process of this user binds the socket, so nothing is created where this user could not create it. The control
//! socket, which stays root's, is bound by the descriptor.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, listen, socket,
};
use nix::sys::stat::{Mode, fchmod, umask};
use nix::unistd::chown;

use crate::listen::error::BindError;
use crate::process::exit::ExitReason;
use crate::process::identity::{Group, Identity};
use crate::process::places::{Place, replaced};

/// The flags of each listening socket.
pub(crate) fn listener_flags() -> SockFlag {
    SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK
}

/// The file of a socket that this server has created.
#[derive(Debug)]
pub(crate) struct File {
    path: PathBuf,
    place: Place,
    identity: (u64, u64),
    /// It has a group of its own.
    has_group: bool,
}

/// Who may connect to a socket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Access {
    /// Of its file, whatever the umask is.
    pub(crate) mode: Mode,
    /// Whose file it is; that of the process that makes it without one.
    pub(crate) group: Option<Group>,
}

impl File {
    /// The file of a socket that another process of this server has created.
    pub(crate) fn of(path: &Path, user: Option<&Identity>) -> Option<Self> {
        let user = user.filter(|user| user.is_another());
        let place = Place::find(path, user).ok()?;
        let (_, identity) = place.socket().ok()??;
        Some(Self {
            path: path.to_owned(),
            place,
            identity,
            has_group: false,
        })
    }

    /// Whether the application's user can replace it.
    pub(crate) fn is_in_reach(&self) -> bool {
        self.place.is_in_reach()
    }

    /// Renames it, and replaces another file of the same folder.
    pub(crate) fn rename(&mut self, path: &Path) -> io::Result<()> {
        let name = path.file_name().ok_or(Errno::EISDIR)?;
        self.place.rename(name)?;
        path.clone_into(&mut self.path);
        Ok(())
    }

    /// Its path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives it to this user, unless a process of this user has created it.
    pub(crate) fn give(&self, user: &Identity) -> io::Result<()> {
        if self.place.is_in_reach() {
            return Ok(());
        }
        let (uid, gid) = user.owner();
        let gid = (!self.has_group).then_some(gid);
        self.place.give_socket(self.identity, Some(uid), gid)
    }

    /// Gives it the mode that the umask has cut, and its group.
    fn open_to(&self, access: Access) -> io::Result<()> {
        let gid = access.group.map(Group::gid);
        self.place.give_socket(self.identity, None, gid)?;
        self.place.open_socket(self.identity, access.mode)
    }

    /// Removes the file, unless another one has replaced it.
    pub(crate) fn remove(&self) {
        if matches!(self.place.this_socket(self.identity), Ok(Some(_))) {
            // If it cannot be removed, the next server replaces it.
            let _ = self.place.remove();
        }
    }
}

/// Who binds the socket, where the application's user can redirect the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    /// A process of the user binds it.
    Users,
    /// This process binds it by the descriptor of the folder. The kernel then lists it under that path.
    Ours,
}

/// Listens on `path`, which is created with `access`. `user` is the application's user of a root server.
pub(crate) fn open(
    path: &Path,
    access: Access,
    backlog: Backlog,
    user: Option<&Identity>,
    whose: Whose,
) -> Result<(OwnedFd, File), BindError> {
    let shown = format!("unix:{}", path.display());
    let refused = |errno| BindError::refused(&shown, errno);
    let failed = |source| BindError::Refused {
        address: shown.clone(),
        source,
    };
    let user = user.filter(|user| user.is_another());
    // The working directory may change before the file is removed.
    let path = std::path::absolute(path).map_err(failed)?;
    let address = UnixAddr::new(&path).map_err(|_| failed(too_long(&path)))?;
    let place = Place::find(&path, user).map_err(failed)?;
    // Locked from this check until the socket listens: otherwise another server would take our socket, which does
    // not listen yet, for a stale one. A folder that cannot be opened for reading is not locked.
    let folder = place.open_folder().ok();
    let _guard = folder.and_then(|folder| Flock::lock(folder, FlockArg::LockExclusive).ok());
    let flags = listener_flags();
    let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None).map_err(refused)?;
    // Linux creates the file with the mode of the socket, less the umask. So it is never more open than it should be,
    // without changing the umask, which all threads share.
    fchmod(socket.as_fd(), access.mode).map_err(refused)?;
    let user = user.filter(|_| place.is_in_reach());
    let (address, user) = match (user, whose) {
        (Some(_), Whose::Ours) => (UnixAddr::new(&place.held()).map_err(refused)?, None),
        _ => (address, user),
    };
    let take = || take(socket.as_fd(), &address, access, user);
    let taken = match take() {
        Err(Errno::EADDRINUSE) => make_room(&place).and_then(|()| take()),
        other => other,
    };
    taken.map_err(|errno| match errno {
        Errno::ENOTSOCK => BindError::NotASocket(path.clone()),
        errno => refused(errno),
    })?;
    let (_, identity) = place
        .socket()
        .map_err(failed)?
        .ok_or_else(|| failed(replaced()))?;
    let file = File {
        path,
        place,
        identity,
        has_group: access.group.is_some(),
    };
    // The control socket without a group is made with all the rights that it has.
    if user.is_none()
        && (whose == Whose::Users || access.group.is_some())
        && let Err(source) = file.open_to(access)
    {
        file.remove();
        return Err(failed(source));
    }
    listen(&socket, backlog).map_err(refused)?;
    Ok((socket, file))
}

/// Binds the socket, in a process of this user if there is one.
fn take(
    socket: BorrowedFd<'_>,
    address: &UnixAddr,
    access: Access,
    user: Option<&Identity>,
) -> nix::Result<()> {
    let Some(user) = user else {
        return bind(socket.as_raw_fd(), address);
    };
    let take = || {
        // This process has one thread and ends here: no other file is made.
        umask(Mode::empty());
        bind(socket.as_raw_fd(), address)?;
        match (access.group, address.path()) {
            (Some(group), Some(path)) => chown(path, None, Some(group.gid())),
            _ => Ok(()),
        }
    };
    let code = |errno: Errno| u8::try_from(errno as i32).unwrap_or(u8::MAX);
    match user.rehearse(|| take().map_or_else(code, |()| 0)) {
        Ok(()) => Ok(()),
        // No socket error has one of these numbers: the process could not become the user, which has been reported.
        Err(code)
            if code == ExitReason::CannotStart.code() || code == ExitReason::Internal.code() =>
        {
            Err(Errno::EPERM)
        }
        Err(code) => Err(Errno::from_raw(code.into())),
    }
}

/// Removes the file if it is a socket on which no process listens. `EADDRINUSE` when one does, `ENOTSOCK` when it
/// is not a socket.
fn make_room(place: &Place) -> nix::Result<()> {
    let errno = |problem: io::Error| Errno::from_raw(problem.raw_os_error().unwrap_or(libc::EIO));
    let (file, seen) = place.socket().map_err(errno)?.ok_or(Errno::ENOTSOCK)?;
    let flags = listener_flags();
    let client = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    // Addresses this very file, even if it has been renamed.
    let address = UnixAddr::new(format!("/proc/self/fd/{}", file.as_raw_fd()).as_str())?;
    // A full backlog gives EAGAIN, another socket type EPROTOTYPE: in both cases a server is running.
    if connect(client.as_raw_fd(), &address) != Err(Errno::ECONNREFUSED) {
        return Err(Errno::EADDRINUSE);
    }
    if place.this_socket(seen).map_err(errno)?.is_none() {
        return Err(Errno::EADDRINUSE);
    }
    place.remove().map_err(errno)
}

fn too_long(path: &Path) -> io::Error {
    let length = path.as_os_str().len();
    io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("the path has {length} bytes, and that of a socket at most 107"),
    )
}

#[cfg(test)]
mod tests {
    use crate::listen::Listener;
    use crate::listen::address::Address;
    use crate::listen::error::BindError;
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::path::Path;

    use tempfile::tempdir;

    fn open(path: &Path) -> Result<Listener, BindError> {
        Listener::open(&Address::Unix(path.to_path_buf().into()), &[], 511, None)
            .map(|mut listeners| listeners.remove(0))
    }

    #[test]
    fn a_socket_is_made_and_removed() {
        let folder = tempdir().unwrap();
        let path = folder.path().join("s");
        let listener = open(&path).unwrap();
        UnixStream::connect(&path).unwrap();
        assert_eq!(listener.url(), format!("unix:{}", path.display()));
        listener.remove_file();
        assert!(!path.exists());
    }

    #[test]
    fn a_stale_socket_is_replaced() {
        let folder = tempdir().unwrap();
        let path = folder.path().join("s");
        drop(UnixListener::bind(&path).unwrap());
        let _listener = open(&path).unwrap();
        UnixStream::connect(&path).unwrap();
    }

    #[test]
    fn a_socket_in_use_is_left_alone() {
        let folder = tempdir().unwrap();
        let path = folder.path().join("s");
        let _first = open(&path).unwrap();
        let error = open(&path).unwrap_err();
        assert!(error.is_in_use());
        assert_eq!(
            error.to_string(),
            format!("unix:{} is in use", path.display())
        );
        UnixStream::connect(&path).unwrap();
    }

    #[test]
    fn a_regular_file_is_never_touched() {
        let folder = tempdir().unwrap();
        let path = folder.path().join("s");
        std::fs::write(&path, "precious").unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        for path in [&path, &link] {
            let error = open(path).unwrap_err();
            assert!(error.is_in_use());
            assert_eq!(
                error.to_string(),
                format!("{} exists and is not a socket", path.display())
            );
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    }

    #[test]
    fn the_socket_of_a_successor_is_not_removed() {
        let folder = tempdir().unwrap();
        let path = folder.path().join("s");
        let first = open(&path).unwrap();
        // The new file is created while the old one exists, so that the inode number differs.
        let other = folder.path().join("t");
        let _second = UnixListener::bind(&other).unwrap();
        std::fs::rename(&other, &path).unwrap();
        first.remove_file();
        assert!(path.exists());
    }

    #[test]
    fn of_many_servers_that_replace_a_stale_socket_one_wins() {
        let folder = tempdir().unwrap();
        let path = folder.path().join("s");
        drop(UnixListener::bind(&path).unwrap());
        let opened: Vec<_> = std::thread::scope(|scope| {
            let servers: Vec<_> = (0..8).map(|_| scope.spawn(|| open(&path))).collect();
            servers
                .into_iter()
                .map(|server| server.join().unwrap())
                .collect()
        });
        assert_eq!(opened.iter().filter(|result| result.is_ok()).count(), 1);
        UnixStream::connect(&path).unwrap();
    }
}
