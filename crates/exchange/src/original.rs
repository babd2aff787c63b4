//! Whether this process is a copy that the application has forked, and that has come back into the server.
#![expect(
    unsafe_code,
    reason = "memory that a fork empties is mapped by hand; it stays in this file"
)]

use std::io;
use std::ptr::NonNull;

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

use crate::sync::{AtomicU32, Ordering};

/// Memory of the kernel's smallest unit.
const PAGE: usize = 4096;

/// Which process code of the application began to run in.
#[derive(Clone, Copy, Debug)]
pub struct Original {
    process: u32,
    /// Not 0, but in a process that is forked from this one. To read it costs no system call.
    mark: Option<Mark>,
}

#[derive(Clone, Copy, Debug)]
struct Mark(NonNull<AtomicU32>);

// SAFETY: what it points to is atomic, and never unmapped.
unsafe impl Send for Mark {}
// SAFETY: as above.
unsafe impl Sync for Mark {}

impl Original {
    /// This process. For as long as it lives, 4 KiB are kept for the answer.
    #[must_use]
    pub fn here() -> Self {
        Self {
            process: std::process::id(),
            // Linux before 4.14 and some that only act as Linux know no such memory.
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
