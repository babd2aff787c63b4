//! Unix sockets in the file system: a stale one is replaced, one that is in use or anything else is left alone.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::socket::{AddressFamily, Backlog, SockType, UnixAddr, bind, connect, listen, socket};
use nix::sys::stat::{Mode, fchmod};

use crate::identity::{Group, Identity};
use crate::listeners::{BindError, listener_flags};
use crate::places::Place;

/// The file of a socket that we have made.
#[derive(Debug)]
pub(crate) struct File {
    path: PathBuf,
    identity: (u64, u64),
}

impl File {
    /// The file of a socket that another process of ours has made.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let identity = identity(path).ok()??;
        Some(Self {
            path: path.to_owned(),
            identity,
        })
    }

    /// Takes the place of another file.
    pub(crate) fn rename(&mut self, path: &Path) -> io::Result<()> {
        fs::rename(&self.path, path)?;
        path.clone_into(&mut self.path);
        Ok(())
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Lets a group use it.
    pub(crate) fn give_to_group(
        &self,
        group: Group,
        mode: Mode,
        user: Option<&Identity>,
    ) -> io::Result<()> {
        let place = Place::find(&self.path, user)?;
        place.give_socket(self.identity, None, group.gid(), Some(mode))
    }

    /// Its device and inode.
    pub(crate) fn identity(&self) -> (u64, u64) {
        self.identity
    }

    /// Removes the file, unless another has taken its place.
    pub(crate) fn remove(&self) {
        if identity(&self.path).is_ok_and(|now| now == Some(self.identity)) {
            // Where it cannot be removed, the next server replaces it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Listens on `path`, which is made with `mode`, less the umask.
pub(crate) fn open(
    path: &Path,
    mode: Mode,
    backlog: Backlog,
) -> Result<(OwnedFd, File), BindError> {
    let shown = format!("unix:{}", path.display());
    let refused = |errno| BindError::refused(&shown, errno);
    let failed = |source| BindError::Refused {
        address: shown.clone(),
        source,
    };
    // The working directory may change before the file is removed.
    let path = std::path::absolute(path).map_err(failed)?;
    let address = UnixAddr::new(&path).map_err(refused)?;
    // From looking at what is there until we listen ourselves, no other server looks: it would take our socket, which
    // does not listen yet, for a stale one. A folder that cannot be opened for reading does without.
    let _guard = path
        .parent()
        .and_then(|folder| fs::File::open(folder).ok())
        .and_then(|folder| Flock::lock(folder, FlockArg::LockExclusive).ok());
    let socket = socket(
        AddressFamily::Unix,
        SockType::Stream,
        listener_flags(),
        None,
    )
    .map_err(refused)?;
    // Linux makes the file with the mode of the socket: from the first moment on, and without a change of the umask, which
    // all threads of a process share.
    fchmod(socket.as_fd(), mode).map_err(refused)?;
    match bind(socket.as_raw_fd(), &address) {
        Err(Errno::EADDRINUSE) => {
            make_room(&path, &address)?;
            bind(socket.as_raw_fd(), &address).map_err(refused)?;
        }
        other => other.map_err(refused)?,
    }
    let identity = identity(&path)
        .map_err(failed)?
        .ok_or_else(|| refused(Errno::ENOENT))?;
    listen(&socket, backlog).map_err(refused)?;
    Ok((socket, File { path, identity }))
}

/// Removes what is at `path` if it is a socket on which nobody listens.
fn make_room(path: &Path, address: &UnixAddr) -> Result<(), BindError> {
    let shown = format!("unix:{}", path.display());
    let failed = |source| BindError::Refused {
        address: shown.clone(),
        source,
    };
    let Some(seen) = identity(path).map_err(failed)? else {
        return Err(BindError::NotASocket(path.to_path_buf()));
    };
    let client = socket(
        AddressFamily::Unix,
        SockType::Stream,
        listener_flags(),
        None,
    )
    .map_err(|e| failed(e.into()))?;
    // A server with a full backlog answers EAGAIN, one of another socket type EPROTOTYPE: both are alive.
    if connect(client.as_raw_fd(), address) != Err(Errno::ECONNREFUSED) {
        return Err(BindError::InUse(shown));
    }
    if identity(path).map_err(failed)? != Some(seen) {
        return Err(BindError::InUse(shown));
    }
    fs::remove_file(path).map_err(failed)
}

/// Which file is at `path`, if it is a socket. A link is no socket, wherever it leads.
fn identity(path: &Path) -> io::Result<Option<(u64, u64)>> {
    let metadata = fs::symlink_metadata(path)?;
    Ok(metadata
        .file_type()
        .is_socket()
        .then_some((metadata.dev(), metadata.ino())))
}

#[cfg(test)]
mod tests {
    use crate::address::Address;
    use crate::listeners::{BindError, Listener};
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::path::Path;

    use tempfile::tempdir;

    fn open(path: &Path) -> Result<Listener, BindError> {
        Listener::open(&Address::Unix(path.to_path_buf()), 511)
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
        // The new file is made while the old one exists, so that it cannot get the same number.
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
