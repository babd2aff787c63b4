//! Log files that the front opens and may not make: made for its user.

use std::io;
use std::os::unix::fs::fchown;
use std::path::Path;

use nix::unistd::Pid;
use tracing::warn;

use crate::config::Settings;
use crate::process::identity::Identity;
use crate::process::places::Place;
use crate::sink;
use crate::sys::fork::{Side, fork, leave};

impl Identity {
    /// Makes a log file that does not exist yet, for this user to open.
    ///
    /// # Errors
    /// When it cannot be made. That there is something already is no error, whatever it is: it is left alone.
    pub fn provide_file(&self, path: &Path) -> io::Result<()> {
        // Only what is made here changes hands: in a folder of the user's, a link could lead anywhere.
        let made = match Place::find(path, Some(self))?.make(0o640) {
            Err(problem) if problem.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
            made => made?,
        };
        let (uid, gid) = self.owner();
        fchown(made, Some(uid.as_raw()), Some(gid.as_raw()))
    }
}

impl Settings {
    /// Makes the log files that do not exist, when the front could not: in a process of its own, since a disk may not
    /// answer. Nothing where there is nothing to do.
    pub(crate) fn provide_logs(&self) -> Option<Pid> {
        let identity = self.identity.as_ref().filter(|_| !self.logs.is_empty())?;
        match fork() {
            Ok(Side::Child) => {
                // What is said of a failure goes the way of all lines; nothing else of the server is needed.
                sink::keep_alone();
                for path in &self.logs {
                    if let Err(problem) = identity.provide_file(path) {
                        warn!(log = %path.display(), error = %problem, "cannot make the log file");
                    }
                }
                leave(0)
            }
            Ok(Side::Parent(pid)) => Some(pid),
            Err(errno) => {
                warn!(%errno, "cannot make the log file");
                None
            }
        }
    }
}
