//! The file with the supervisor's number.

use std::io::Write;

use supervisor::{Place, exit};
use tracing::error;

use crate::config::Config;

/// Bytes of the longest pid file.
const LONGEST_NUMBER: u64 = 32;

/// The file with the supervisor's number, for as long as there is one.
#[derive(Debug)]
pub(crate) struct PidFile {
    place: Place,
    text: String,
}

impl PidFile {
    /// Writes the file of `--pid-file`; the exit code when that is not possible.
    pub(crate) fn write(config: &Config) -> Result<Option<Self>, u8> {
        let Some(path) = config.pid_file.clone() else {
            return Ok(None);
        };
        let text = format!("{}\n", std::process::id());
        let written = Place::find(&path, config.identity.as_ref()).and_then(|place| {
            // Whole or not at all, since programs that wait for it read it at once. The mode does not depend on the umask:
            // who can write the file chooses the process that its readers send signals to.
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

    /// Removes it, unless another server has written its own number.
    pub(crate) fn remove(&self) {
        if self
            .place
            .read(LONGEST_NUMBER)
            .is_ok_and(|text| text == self.text)
        {
            // Where it cannot be removed, the next server replaces it.
            let _ = self.place.remove();
        }
    }
}
