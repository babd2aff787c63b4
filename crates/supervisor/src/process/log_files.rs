//! Creates log files for the front's user, where the front may not create them.

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
    /// Creates a log file for this user, if it does not exist.
    ///
    /// # Errors
    /// When it cannot be created. An existing file of any kind is no error, and is left alone.
    pub fn provide_file(&self, path: &Path) -> io::Result<()> {
        // Only a newly created file changes its owner: in a folder of the user's, a link could lead anywhere.
        let made = match Place::find(path, Some(self))?.make(0o640) {
            Err(problem) if problem.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
            made => made?,
        };
        let (uid, gid) = self.owner();
        fchown(made, Some(uid.as_raw()), Some(gid.as_raw()))
    }
}

impl Settings {
    /// Creates the missing log files that the front cannot create, in a separate process, because a disk may not
    /// respond. `None` where nothing is to be done.
    pub(crate) fn provide_logs(&self) -> Option<Pid> {
        let identity = self.identity.as_ref().filter(|_| !self.logs.is_empty())?;
        match fork() {
            Ok(Side::Child) => {
                // Errors are logged like all lines; the process needs no other descriptor of the server.
                sink::close_all_but_log();
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
