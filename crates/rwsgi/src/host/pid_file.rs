//! The file with the supervisor's process id.

use std::io::Write;

use supervisor::{Place, exit};
use tracing::error;

use crate::config::Config;

/// The maximum size of a pid file in bytes.
const LONGEST_NUMBER: u64 = 32;

/// The pid file, as long as it exists.
#[derive(Debug)]
pub(crate) struct PidFile {
    place: Place,
    text: String,
}

impl PidFile {
    /// Writes the file of `--pid-file`; returns the exit code when that fails.
    pub(crate) fn write(config: &Config) -> Result<Option<Self>, u8> {
        let Some(path) = config.pid_file.clone() else {
            return Ok(None);
        };
        let text = format!("{}\n", std::process::id());
        let written = Place::find(&path, config.identity.as_ref()).and_then(|place| {
            // Written atomically, because programs that wait for it read it at once. The mode does not depend on
            // the umask: a user who can write the file chooses the process that receives signals.
            place.replace(0o644, |file| file.write_all(text.as_bytes()))?;
            Ok(place)
        });
        match written {
            Ok(place) => Ok(Some(Self { place, text })),
            Err(problem) => {
                error!(path = %path.display(), error = %problem, "cannot write the pid file");
                Err(exit::CONFIGURATION)
            }
        }
    }

    /// Removes it, unless it contains the id of another server.
    pub(crate) fn remove(&self) {
        if self
            .place
            .read(LONGEST_NUMBER)
            .is_ok_and(|text| text == self.text)
        {
            // If it cannot be removed, the next server replaces it.
            let _ = self.place.remove();
        }
    }
}
