//! Files that a root supervisor creates, reads or gives away by a name in a folder that the application's user may
//! change: checked objects are held by descriptors, and no link of that user is followed.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::{File, Permissions};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat, readlinkat, renameat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchownat, unlinkat};

use crate::process::identity::Identity;

/// The kernel's limit of links in one path.
const MOST_LINKS: u32 = 40;

const LOOK: OFlag = OFlag::O_PATH
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);

/// A name in a folder, which is held open.
#[derive(Debug)]
pub struct Place {
    folder: OwnedFd,
    name: OsString,
    /// The user for whom it was resolved can redirect the path, or put another file under the name.
    in_reach: bool,
}

impl Place {
    /// Resolves `path` up to its last folder. If the application has a user of its own, a link that this user may
    /// have created is refused; links in folders that the user cannot change, such as those of a deploy, are
    /// followed.
    ///
    /// # Errors
    /// When the folder does not exist, or a link is refused.
    pub fn find(path: &Path, user: Option<&Identity>) -> io::Result<Self> {
        Self::walk(path, user, false)
    }

    /// As [`Self::find`], but the file itself may be a link, which is followed.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub fn find_target(path: &Path, user: Option<&Identity>) -> io::Result<Self> {
        Self::walk(path, user, true)
    }

    fn walk(path: &Path, user: Option<&Identity>, through_last: bool) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        let mut left: VecDeque<OsString> = steps(&path).collect();
        let mut folder = root()?;
        let mut links = 0;
        let mut in_reach = false;
        while let Some(step) = left.pop_front() {
            let is_last = left.is_empty();
            if is_last && !through_last {
                in_reach |= user.is_some_and(|user| user.may_rename(&folder, None));
                return Ok(Self {
                    folder,
                    name: step,
                    in_reach,
                });
            }
            let next = openat(&folder, step.as_os_str(), LOOK, Mode::empty())?;
            let found = fstat(&next)?;
            in_reach |= user.is_some_and(|user| user.may_rename(&folder, Some(&found)));
            if is_last && kind(&found) != SFlag::S_IFLNK {
                return Ok(Self {
                    folder,
                    name: step,
                    in_reach,
                });
            }
            if kind(&found) != SFlag::S_IFLNK {
                folder = next;
                continue;
            }
            links += 1;
            if links > MOST_LINKS || user.is_some_and(|user| user.may_change(&folder, &found)) {
                return Err(refused(&step));
            }
            let target = readlinkat(&folder, step.as_os_str())?;
            let target = Path::new(&target);
            if target.is_absolute() {
                folder = root()?;
            }
            for step in steps(target).collect::<Vec<_>>().into_iter().rev() {
                left.push_front(step);
            }
        }
        Err(Errno::EISDIR.into())
    }

    /// Whether the user for whom it was resolved can redirect the path, or put another file under the name.
    pub(crate) fn is_in_reach(&self) -> bool {
        self.in_reach
    }

    /// A path through the descriptor of the folder, valid as long as this exists.
    pub(crate) fn held(&self) -> PathBuf {
        let folder = format!("/proc/self/fd/{}", self.folder.as_raw_fd());
        Path::new(&folder).join(&self.name)
    }

    /// The folder, opened separately so that it can be locked.
    pub(crate) fn open_folder(&self) -> io::Result<OwnedFd> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        Ok(openat(&self.folder, ".", flags, Mode::empty())?)
    }

    /// The socket under the name, with its device and inode; `None` for any other file.
    pub(crate) fn socket(&self) -> io::Result<Option<(OwnedFd, (u64, u64))>> {
        let opened = openat(&self.folder, self.name.as_os_str(), LOOK, Mode::empty())?;
        let found = fstat(&opened)?;
        let identity = (found.st_dev, found.st_ino);
        Ok((kind(&found) == SFlag::S_IFSOCK).then_some((opened, identity)))
    }

    /// The socket under the name, if its device and inode are these.
    pub(crate) fn this_socket(&self, is: (u64, u64)) -> io::Result<Option<OwnedFd>> {
        let found = self.socket()?.filter(|(_, identity)| *identity == is);
        Ok(found.map(|(socket, _)| socket))
    }

    /// Renames the file within the folder; an existing file of that name is replaced.
    pub(crate) fn rename(&mut self, name: &OsStr) -> io::Result<()> {
        renameat(&self.folder, self.name.as_os_str(), &self.folder, name)?;
        name.clone_into(&mut self.name);
        Ok(())
    }

    /// Creates a file.
    ///
    /// # Errors
    /// `EEXIST` when a file of any kind exists.
    pub fn make(&self, mode: u32) -> io::Result<File> {
        self.make_named(&self.name, mode)
    }

    fn make_named(&self, name: &OsStr, mode: u32) -> io::Result<File> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
        let made = openat(&self.folder, name, flags, Mode::from_bits_truncate(mode))?;
        Ok(made.into())
    }

    /// Writes a new file with `fill`, and then replaces this one by it.
    ///
    /// # Errors
    /// When that fails; the new file is removed then.
    pub fn replace(
        &self,
        mode: u32,
        fill: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut new = self.name.clone();
        new.push(format!(".{}", std::process::id()));
        // Left by a killed server with the same process id.
        let _ = self.remove_named(&new);
        let mut file = self.make_named(&new, mode)?;
        let renamed = fill(&mut file).and_then(|()| {
            Ok(renameat(
                &self.folder,
                new.as_os_str(),
                &self.folder,
                self.name.as_os_str(),
            )?)
        });
        renamed.inspect_err(|_| {
            // The new file is useless; the first error is reported.
            let _ = self.remove_named(&new);
        })
    }

    /// Reads a small regular file. Links and other kinds of files are not opened.
    ///
    /// # Errors
    /// When it does not exist, or has more than `most` bytes.
    pub fn read(&self, most: u64) -> io::Result<String> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let opened = openat(&self.folder, self.name.as_os_str(), flags, Mode::empty())?;
        read_regular(opened.into(), most)
    }

    /// Removes the file.
    ///
    /// # Errors
    /// When it does not exist, or may not be removed.
    pub fn remove(&self) -> io::Result<()> {
        self.remove_named(&self.name)
    }

    fn remove_named(&self, name: &OsStr) -> io::Result<()> {
        Ok(unlinkat(&self.folder, name, UnlinkatFlags::NoRemoveDir)?)
    }

    /// Gives a socket to a user and group, if it is the file with this device and inode.
    pub(crate) fn give_socket(
        &self,
        is: (u64, u64),
        uid: Option<Uid>,
        gid: Option<Gid>,
    ) -> io::Result<()> {
        let socket = self.this_socket(is)?.ok_or_else(replaced)?;
        Ok(fchownat(&socket, "", uid, gid, AtFlags::AT_EMPTY_PATH)?)
    }

    /// Gives a socket this mode, if it is the file with this device and inode.
    pub(crate) fn open_socket(&self, is: (u64, u64), mode: Mode) -> io::Result<()> {
        let socket = self.this_socket(is)?.ok_or_else(replaced)?;
        // By the descriptor: chmod follows the link in /proc to exactly this file.
        let file = format!("/proc/self/fd/{}", socket.as_raw_fd());
        std::fs::set_permissions(file, Permissions::from_mode(mode.bits()))
    }
}

/// Reads a regular file of at most `most` bytes: reading another kind of file, such as a FIFO, may block or never
/// end.
fn read_regular(file: File, most: u64) -> io::Result<String> {
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is no regular file",
        ));
    }
    let mut text = String::new();
    let read = file.take(most + 1).read_to_string(&mut text)?;
    if read as u64 > most {
        let larger = format!("it has more than {most} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, larger));
    }
    Ok(text)
}

impl Identity {
    /// Whether this user could have created such an entry in the folder.
    fn may_change(&self, folder: impl AsFd, entry: &FileStat) -> bool {
        // A folder that cannot be examined is not trusted.
        let Ok(folder) = fstat(folder) else {
            return true;
        };
        let (uid, _) = self.rights();
        let is = |owner: u32| owner == uid.as_raw();
        if is(folder.st_uid) || is(entry.st_uid) {
            return true;
        }
        // In a sticky folder such as /tmp, other users cannot replace an entry.
        let mode = Mode::from_bits_truncate(folder.st_mode);
        self.may_write(&folder) && !mode.contains(Mode::S_ISVTX)
    }

    /// Whether this user can replace an entry, or one that root is about to create.
    fn may_rename(&self, folder: impl AsFd, entry: Option<&FileStat>) -> bool {
        let Ok(folder) = fstat(folder) else {
            return true;
        };
        let (uid, _) = self.rights();
        let is_own = |owner: u32| owner == uid.as_raw();
        if is_own(folder.st_uid) {
            return true;
        }
        let is_sticky = Mode::from_bits_truncate(folder.st_mode).contains(Mode::S_ISVTX);
        self.may_write(&folder) && (!is_sticky || entry.is_some_and(|entry| is_own(entry.st_uid)))
    }

    /// Whether this user, who does not own the folder, can create entries in it.
    fn may_write(&self, folder: &FileStat) -> bool {
        let (_, groups) = self.rights();
        let in_group = groups.iter().any(|group| group.as_raw() == folder.st_gid);
        let needed = if in_group {
            Mode::S_IWGRP
        } else {
            Mode::S_IWOTH
        };
        Mode::from_bits_truncate(folder.st_mode).contains(needed)
    }
}

/// The error when the created file has been replaced.
pub(crate) fn replaced() -> io::Error {
    io::Error::other("another file has taken the place of the socket")
}

fn root() -> nix::Result<OwnedFd> {
    open("/", LOOK | OFlag::O_DIRECTORY, Mode::empty())
}

fn steps(path: &Path) -> impl Iterator<Item = OsString> {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    })
}

fn kind(found: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT
}

fn refused(step: &OsStr) -> io::Error {
    let step = step.display();
    io::Error::other(format!(
        "{step} is a link that the application's user may have made"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::fs::{chown, symlink};

    use nix::sys::stat::Mode as Rights;
    use tempfile::tempdir;

    use crate::process::identity::User;

    fn nobody() -> Identity {
        Identity::of(Some(&User::find("nobody").unwrap()), None)
            .unwrap()
            .unwrap()
    }

    #[test]
    fn a_link_of_the_user_is_not_followed_and_one_of_a_deploy_is() {
        if !crate::is_root() {
            return;
        }
        let top = tempdir().unwrap();
        let (deploys, own) = (top.path().join("deploys"), top.path().join("own"));
        for folder in [&deploys, &own, &top.path().join("secret")] {
            std::fs::create_dir(folder).unwrap();
        }
        chown(&own, Some(nobody().rights().0.as_raw()), None).unwrap();
        for folder in [&deploys, &own] {
            symlink("../secret", folder.join("current")).unwrap();
        }
        let user = nobody();
        let file = |folder: &Path| folder.join("current/log");
        Place::find(&file(&deploys), Some(&user))
            .unwrap()
            .make(0o640)
            .unwrap();
        assert!(top.path().join("secret/log").exists());
        let problem = Place::find(&file(&own), Some(&user)).unwrap_err();
        assert!(
            problem.to_string().contains("current is a link"),
            "{problem}"
        );
        Place::find(&file(&own), None).unwrap();
    }

    #[test]
    fn a_file_is_replaced_whole_and_a_link_is_not_written_through() {
        let folder = tempdir().unwrap();
        let path = folder.path().join("pid");
        std::fs::write(folder.path().join("precious"), "precious").unwrap();
        symlink("precious", &path).unwrap();
        let place = Place::find(&path, None).unwrap();
        place.replace(0o644, |file| file.write_all(b"7\n")).unwrap();
        assert_eq!(place.read(100).unwrap(), "7\n");
        assert!(place.read(1).is_err());
        assert_eq!(
            std::fs::read_to_string(folder.path().join("precious")).unwrap(),
            "precious"
        );
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
        place.remove().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn a_fifo_does_not_block() {
        let folder = tempdir().unwrap();
        let path = folder.path().join("fifo");
        nix::unistd::mkfifo(&path, Rights::S_IRWXU).unwrap();
        for path in [&path, Path::new("/dev/zero")] {
            assert!(Place::find(path, None).unwrap().read(100).is_err());
        }
    }
}
