//! Under the model checker: the pipe that wakes the front, made of loom's types.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::LazyLock;

use loom::sync::{Condvar, Mutex};

use crate::sync::killable::step;

/// Stands for the pipe: whether it is readable, and the front that polls it.
#[derive(Debug, Default)]
pub(crate) struct Doorbell {
    is_rung: Mutex<bool>,
    front: Condvar,
}

/// Stands for the descriptors, which the model does not use.
static NULL: LazyLock<File> = LazyLock::new(|| File::open("/dev/null").expect("it is there"));

impl Doorbell {
    pub(crate) fn open() -> io::Result<(Self, OwnedFd)> {
        Ok((Self::default(), NULL.try_clone()?.into()))
    }

    pub(crate) fn ring(&self) -> io::Result<()> {
        // The caller can be killed between marking the front as woken and this.
        step();
        *self.is_rung.lock().expect("no thread panics with it") = true;
        self.front.notify_one();
        Ok(())
    }

    /// As the front's event loop: waits until the pipe is readable, and empties it.
    pub(crate) fn wait(&self) {
        let mut is_rung = self.is_rung.lock().expect("no thread panics with it");
        while !*is_rung {
            is_rung = self.front.wait(is_rung).expect("no thread panics with it");
        }
        *is_rung = false;
    }

    pub(crate) fn get(&self) -> io::Result<BorrowedFd<'_>> {
        Ok(NULL.as_fd())
    }
}
