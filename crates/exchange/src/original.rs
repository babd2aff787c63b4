//! Whether this process is a copy that the application has forked, and that has returned into the server's code.
#![expect(
    unsafe_code,
    reason = "memory that a fork wipes is mapped by hand; it stays in this file"
)]

use std::io;
use std::ptr::NonNull;

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

use crate::sync::{AtomicU32, Ordering};

/// Bytes of the smallest mapping.
const PAGE: usize = 4096;

/// The process in which the application's code began to run.
#[derive(Clone, Copy, Debug)]
pub struct Original {
    process: u32,
    /// Not 0 in this process, 0 in processes forked from it. Reading it takes no system call.
    mark: Option<Mark>,
}

#[derive(Clone, Copy, Debug)]
struct Mark(NonNull<AtomicU32>);

// SAFETY: what it points to is atomic, and never unmapped.
unsafe impl Send for Mark {}
// SAFETY: as above.
unsafe impl Sync for Mark {}

impl Original {
    /// This process. Maps 4 KiB, which stay until it ends.
    #[must_use]
    pub fn here() -> Self {
        Self {
            process: std::process::id(),
            // Linux before 4.14 has no MADV_WIPEONFORK, nor have some emulations of Linux.
            mark: Mark::new().ok(),
        }
    }

    /// Whether this process is another one.
    #[must_use]
    pub fn is_elsewhere(&self) -> bool {
        match self.mark {
            Some(mark) => !mark.is_set(),
            None => std::process::id() != self.process,
        }
    }

    /// The number of the process.
    #[must_use]
    pub fn process(&self) -> u32 {
        self.process
    }
}

impl Mark {
    fn new() -> io::Result<Self> {
        // SAFETY: a new mapping at an address of the kernel's choice.
        let page = unsafe {
            mmap_anonymous(
                std::ptr::null_mut(),
                PAGE,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE,
            )
        }?;
        // SAFETY: the mapping is ours, and nothing is in it yet.
        if let Err(errno) = unsafe { madvise(page, PAGE, Advice::LinuxWipeOnFork) } {
            // SAFETY: as above; nothing refers to it.
            unsafe { munmap(page, PAGE) }?;
            return Err(errno.into());
        }
        let word = NonNull::new(page.cast::<AtomicU32>()).ok_or(io::ErrorKind::OutOfMemory)?;
        let mark = Self(word);
        mark.word().store(1, Ordering::Relaxed);
        Ok(mark)
    }

    fn is_set(self) -> bool {
        self.word().load(Ordering::Relaxed) != 0
    }

    fn word(&self) -> &AtomicU32 {
        // SAFETY: `new` has mapped a page, aligned and zeroed, as an atomic number may be; it is never unmapped.
        unsafe { self.0.as_ref() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_the_original_with_and_without_a_mark() {
        let here = Original::here();
        assert!(here.mark.is_some(), "Linux 4.14 and later");
        assert!(!here.is_elsewhere());
        let process = here.process();
        let mark = None;
        assert!(!Original { process, mark }.is_elsewhere());
        let process = process + 1;
        assert!(Original { process, mark }.is_elsewhere());
    }
}
