//! Operations that may block on a disk. They run on other threads than the one that serves all connections, so that
//! a disk that does not respond delays only the requests that use it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

/// Threads for blocking operations. Further operations wait for a free thread.
pub(crate) const THREADS: usize = 16;
/// How many of these threads may write at the same time; the others remain for reading.
const WRITERS: usize = 4;
/// Bytes waiting to be written, above which only data that a client is ready to take is read.
pub(crate) const MOST_UNWRITTEN: u64 = 2 * 1024 * 1024;
/// Bytes of stack per thread.
pub(crate) const STACK: usize = 256 * 1024;

/// Writes unlinked temporary files within a budget.
#[derive(Debug)]
pub(crate) struct Disk {
    /// Their folder; the folder for temporary files where none is given.
    folder: Option<PathBuf>,
    /// A permit is held until the write ends, even if its connection has ended before, so that the memory of writes
    /// is bounded.
    permits: Arc<Semaphore>,
    /// Bytes that wait to be written, or are being written.
    unwritten: Arc<AtomicU64>,
    budget: Arc<Budget>,
}

/// Bytes of all these files together.
#[derive(Debug)]
struct Budget {
    most: u64,
    used: AtomicU64,
}

impl Disk {
    /// `most` bytes for all files in this folder.
    pub(crate) fn new(folder: Option<PathBuf>, most: u64) -> Self {
        let used = AtomicU64::new(0);
        Self {
            folder,
            permits: Arc::new(Semaphore::new(WRITERS)),
            unwritten: Arc::default(),
            budget: Arc::new(Budget { most, used }),
        }
    }

    /// Writes these bytes into the file from `at` on, or into a new one, and returns the buffer. A write that has
    /// begun is completed even if the future is dropped.
    pub(crate) async fn write(
        &self,
        file: Option<Arc<DiskFile>>,
        at: u64,
        bytes: Vec<u8>,
    ) -> (Vec<u8>, io::Result<Arc<DiskFile>>) {
        let unwritten = Unwritten::new(&self.unwritten, bytes.len());
        let permits = Arc::clone(&self.permits);
        let (folder, budget) = (self.folder.clone(), Arc::clone(&self.budget));
        let permit = permits.acquire_owned().await;
        let done = spawn_blocking(move || {
            let written = write(file, at, &bytes, folder.as_deref(), &budget);
            drop((permit, unwritten));
            (bytes, written)
        });
        done.await
            .unwrap_or_else(|lost| (Vec::new(), Err(io::Error::other(lost))))
    }

    /// Whether more bytes wait to be written than [`MOST_UNWRITTEN`].
    pub(crate) fn has_backlog(&self) -> bool {
        self.unwritten.load(Ordering::Relaxed) >= MOST_UNWRITTEN
    }

    /// The folder, for messages.
    pub(crate) fn folder(&self) -> PathBuf {
        self.folder.clone().unwrap_or_else(std::env::temp_dir)
    }
}

/// Bytes that count as unwritten until this is dropped.
struct Unwritten {
    all: Arc<AtomicU64>,
    bytes: u64,
}

impl Unwritten {
    fn new(all: &Arc<AtomicU64>, bytes: usize) -> Self {
        let (all, bytes) = (Arc::clone(all), bytes as u64);
        all.fetch_add(bytes, Ordering::Relaxed);
        Self { all, bytes }
    }
}

impl Drop for Unwritten {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

fn write(
    file: Option<Arc<DiskFile>>,
    at: u64,
    bytes: &[u8],
    folder: Option<&Path>,
    budget: &Arc<Budget>,
) -> io::Result<Arc<DiskFile>> {
    let file = match file {
        Some(file) => file,
        None => Arc::new(DiskFile::create(folder, budget)?),
    };
    file.charge(bytes.len() as u64)?;
    file.file().write_all_at(bytes, at)?;
    Ok(file)
}

/// A file that is closed on a thread that may block: closing the last descriptor of an unlinked file frees its
/// blocks on the disk.
#[derive(Debug)]
pub(crate) struct DiskFile {
    file: Option<File>,
    /// Bytes that the file has taken from the budget.
    charged: AtomicU64,
    budget: Option<Arc<Budget>>,
}

impl DiskFile {
    /// May block on the disk.
    #[expect(clippy::disallowed_methods, reason = "the caller may wait")]
    fn create(folder: Option<&Path>, budget: &Arc<Budget>) -> io::Result<Self> {
        let file = match folder {
            Some(folder) => tempfile::tempfile_in(folder),
            None => tempfile::tempfile(),
        }?;
        let mut file = Self::from(file);
        file.budget = Some(Arc::clone(budget));
        Ok(file)
    }

    /// Reading it may block, unless the pages are in the page cache.
    pub(crate) fn file(&self) -> &File {
        self.file
            .as_ref()
            .expect("it is there until this is dropped")
    }

    /// Takes bytes from the budget.
    fn charge(&self, bytes: u64) -> io::Result<()> {
        let Some(budget) = &self.budget else {
            return Ok(());
        };
        let fits = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= budget.most);
        if budget
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits)
            .is_err()
        {
            let full = format!("--buffer-disk {} is used up", budget.most);
            return Err(io::Error::new(io::ErrorKind::StorageFull, full));
        }
        self.charged.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }
}

impl From<File> for DiskFile {
    fn from(file: File) -> Self {
        Self {
            file: Some(file),
            charged: AtomicU64::new(0),
            budget: None,
        }
    }
}

impl AsFd for DiskFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file().as_fd()
    }
}

impl Drop for DiskFile {
    fn drop(&mut self) {
        let (file, budget) = (self.file.take(), self.budget.take());
        let charged = *self.charged.get_mut();
        let close = move || {
            drop(file);
            if let Some(budget) = budget {
                budget.used.fetch_sub(charged, Ordering::Relaxed);
            }
        };
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(close)),
            // The runtime is shutting down.
            Err(_) => close(),
        }
    }
}
