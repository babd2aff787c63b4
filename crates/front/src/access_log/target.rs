//! The destination of the access log, and how it is opened without blocking.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FileType, Mode, OFlags, fcntl_getfl, fstat, open, stat};
use rustix::io::Errno;

/// The destination of the log.
#[derive(Clone, Debug)]
pub enum Target {
    /// A descriptor that is already open, of any kind.
    Open {
        /// Its name for messages.
        name: String,
        /// The descriptor.
        descriptor: Arc<OwnedFd>,
    },
    /// Appends to this file, which is created (mode 0640, less the umask) when it does not exist.
    File(PathBuf),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open { name, .. } => f.write_str(name),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

impl Target {
    /// Opens the log once to check that it can be opened.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn check(&self) -> io::Result<()> {
        match Opened::open(self) {
            Err(error) if self.is_unread(&error) => Ok(()),
            opened => opened.map(drop),
        }
    }

    /// The target is a FIFO without a reader which this process may not open for reading.
    pub(super) fn is_unread(&self, error: &io::Error) -> bool {
        let Self::File(path) = self else { return false };
        let is_fifo =
            stat(path).is_ok_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::Fifo);
        is_fifo && error.raw_os_error() == Some(Errno::NXIO.raw_os_error())
    }
}

/// An open log.
#[derive(Debug)]
pub(super) struct Opened {
    descriptor: Arc<OwnedFd>,
    /// The file does not end with a line end, for instance because the disk was full at the last write.
    pub(super) torn: bool,
}

impl Opened {
    pub(super) fn open(target: &Target) -> io::Result<Self> {
        match target {
            Target::Open { descriptor, .. } => {
                if fcntl_getfl(descriptor)? & OFlags::RWMODE == OFlags::RDONLY {
                    return Err(io::Error::other("it is open for reading only"));
                }
                Ok(Self {
                    descriptor: Arc::clone(descriptor),
                    torn: false,
                })
            }
            Target::File(path) => {
                let descriptor = open_file(path)?;
                let is_file = kind(&descriptor)? == FileType::RegularFile;
                Ok(Self {
                    descriptor: Arc::new(descriptor),
                    torn: is_file && ends_in_the_middle_of_a_line(path),
                })
            }
        }
    }
}

impl AsFd for Opened {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// Opens a file for appending. A FIFO is opened for reading too, where permitted: it then accepts lines without a
/// reader and keeps them for the next reader.
fn open_file(path: &Path) -> io::Result<OwnedFd> {
    let how = OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let append = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE;
    let both = || open(path, OFlags::RDWR | how, Mode::empty());
    match open(path, append | how, Mode::from_raw_mode(0o640)) {
        Ok(file) if kind(&file)? == FileType::Fifo => Ok(both().unwrap_or(file)),
        // POSIX: opening a FIFO without a reader for nonblocking writing fails with ENXIO.
        Err(Errno::NXIO) => both().map_err(|_| Errno::NXIO.into()),
        file => Ok(file?),
    }
}

fn kind(descriptor: impl AsFd) -> io::Result<FileType> {
    Ok(FileType::from_raw_mode(fstat(descriptor)?.st_mode))
}

#[expect(
    clippy::disallowed_methods,
    reason = "at the start, and by the writer's thread"
)]
fn ends_in_the_middle_of_a_line(path: &Path) -> bool {
    // A file that cannot be read is assumed to end with a line end.
    let Ok(mut file) = File::open(path) else {
        return false;
    };
    let mut last = [0];
    file.seek(SeekFrom::End(-1)).is_ok() && file.read_exact(&mut last).is_ok() && last != *b"\n"
}
