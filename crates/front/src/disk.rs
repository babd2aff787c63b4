//! What may have to wait for a disk: done by threads beside the one that has all connections, so that a disk that does not
//! answer holds up those alone that need it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

/// Threads that wait for disks. What finds none of them free waits for one.
pub(crate) const THREADS: usize = 16;
/// Those of them that may write at once: the others are left to those who read.
const WRITERS: usize = 4;
/// Bytes of their stacks.
pub(crate) const STACK: usize = 256 * 1024;

/// Writes files.
#[derive(Debug)]
pub(crate) struct Disk {
    /// Also held by work whose connection has gone meanwhile, so that what it holds in memory is bounded.
    permits: Arc<Semaphore>,
}

impl Default for Disk {
    fn default() -> Self {
        Self {
            permits: Arc::new(Semaphore::new(WRITERS)),
        }
    }
}

impl Disk {
    /// Does this work, and waits for its end. Begun, it goes on when this is dropped.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let permit = Arc::clone(&self.permits);
        let permit = permit.acquire_owned().await.map_err(io::Error::other)?;
        let done = spawn_blocking(move || {
            let done = work();
            drop(permit);
            done
        });
        done.await.map_err(io::Error::other)?
    }
}

/// A file that has no name any more. It is freed by its last closing, which may have to wait for the disk.
#[derive(Debug)]
pub(crate) struct Unlinked(Option<File>);

impl Unlinked {
    /// A new one, in the folder for temporary files.
    ///
    /// To be called where a disk may be waited for.
    #[expect(clippy::disallowed_methods, reason = "the caller may wait")]
    pub(crate) fn create() -> io::Result<Self> {
        tempfile::tempfile().map(Some).map(Self)
    }

    /// To read and to write, where a disk may be waited for.
    pub(crate) fn file(&self) -> &File {
        self.0.as_ref().expect("it is there until this is dropped")
    }
}

impl AsFd for Unlinked {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file().as_fd()
    }
}

impl Drop for Unlinked {
    fn drop(&mut self) {
        let file = self.0.take();
        // Without a runtime, the front ends.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn_blocking(move || drop(file));
        }
    }
}
