//! What may have to wait for a disk: done by threads beside the one that has all connections, so that a disk that does not
//! answer holds up those alone that need it.

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

/// Threads that wait for disks. What finds none of them free waits for one.
pub(crate) const THREADS: usize = 16;
/// Those of them that may write at once: the others are left to those who read.
const WRITERS: usize = 4;
/// Bytes that may wait to be written before no more are read for which no client is ready.
pub(crate) const BEHIND: u64 = 2 * 1024 * 1024;
/// Bytes of their stacks.
pub(crate) const STACK: usize = 256 * 1024;

/// Writes files without names, of which there is a bounded amount.
#[derive(Debug)]
pub(crate) struct Disk {
    /// Where they lie; the folder for temporary files where none is given.
    folder: Option<PathBuf>,
    /// Also held by work whose connection has gone meanwhile, so that what it holds in memory is bounded.
    permits: Arc<Semaphore>,
    /// Bytes that wait to be written, or are being written.
    unwritten: Arc<AtomicU64>,
    budget: Arc<Budget>,
}

/// Bytes that all these files may have together.
#[derive(Debug)]
struct Budget {
    most: u64,
    used: AtomicU64,
}

impl Disk {
    /// So many bytes for all files in this folder.
    pub(crate) fn new(folder: Option<PathBuf>, most: u64) -> Self {
        let used = AtomicU64::new(0);
        Self {
            folder,
            permits: Arc::new(Semaphore::new(WRITERS)),
            unwritten: Arc::default(),
            budget: Arc::new(Budget { most, used }),
        }
    }

    /// Writes these bytes into the file from `at` on, or into a new one, and gives them back. Begun, that goes on when this is
    /// dropped.
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

    /// Whether more waits to be written than should.
    pub(crate) fn is_behind(&self) -> bool {
        self.unwritten.load(Ordering::Relaxed) >= BEHIND
    }

    /// The folder, to be named to people.
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

/// A file whose last closing is left to a thread that may wait: it frees a file that has no name, for which the disk is
/// needed.
#[derive(Debug)]
pub(crate) struct DiskFile {
    file: Option<File>,
    /// What it has of a budget.
    charged: AtomicU64,
    budget: Option<Arc<Budget>>,
}

impl DiskFile {
    /// To be called where a disk may be waited for.
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

    /// To read where its pages are in memory, and otherwise where a disk may be waited for.
    pub(crate) fn file(&self) -> &File {
        self.file
            .as_ref()
            .expect("it is there until this is dropped")
    }

    /// Takes so many bytes from the budget.
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
            // The front ends.
            Err(_) => close(),
        }
    }
}
