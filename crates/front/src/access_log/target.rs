//! Where the access log goes, and how that is opened without waiting for anybody.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FileType, Mode, OFlags, fcntl_getfl, fstat, open, stat};
use rustix::io::Errno;

/// Where the log goes.
#[derive(Clone, Debug)]
pub enum Target {
    /// To what is open already, whatever it is.
    Open {
        /// What it is called.
        name: String,
        /// The descriptor.
        descriptor: Arc<OwnedFd>,
    },
    /// To the end of this file, which is made (mode 0640, less the umask) when it is not there.
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
    /// Opens the log once to see whether that is possible.
    ///
    /// # Errors
    /// When it is not.
    pub fn check(&self) -> io::Result<()> {
        match Opened::open(self) {
            Err(error) if self.is_unread(&error) => Ok(()),
            opened => opened.map(drop),
        }
    }

    /// It is a FIFO that nobody reads for now, and that we may not hold open ourselves.
    pub(super) fn is_unread(&self, error: &io::Error) -> bool {
        let Self::File(path) = self else { return false };
        let is_fifo =
            stat(path).is_ok_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::Fifo);
        is_fifo && error.raw_os_error() == Some(Errno::NXIO.raw_os_error())
    }
}

/// A log that can be written to.
#[derive(Debug)]
pub(super) struct Opened {
    descriptor: Arc<OwnedFd>,
    /// It does not end with the end of a line: a disk may have been full when it was written to last.
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

/// Opens a file at its end. A FIFO is opened for reading, too, where that is allowed: it then takes lines while nobody
/// else reads it, and has them ready for the next reader.
fn open_file(path: &Path) -> io::Result<OwnedFd> {
    let how = OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let append = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE;
    let both = || open(path, OFlags::RDWR | how, Mode::empty());
    match open(path, append | how, Mode::from_raw_mode(0o640)) {
        Ok(file) if kind(&file)? == FileType::Fifo => Ok(both().unwrap_or(file)),
        // As POSIX has it for a FIFO that nobody reads.
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
    // A file that may not be read is taken to be well.
    let Ok(mut file) = File::open(path) else {
        return false;
    };
    let mut last = [0];
    file.seek(SeekFrom::End(-1)).is_ok() && file.read_exact(&mut last).is_ok() && last != *b"\n"
}
