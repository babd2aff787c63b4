//! How this server was started: to read the options again, and to start another one in the same way.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use supervisor::Program;

use crate::options::{Again, Error, Started};

/// Arguments and folder; the environment has not changed since.
#[derive(Clone, Debug)]
pub(crate) struct Start {
    arguments: Vec<OsString>,
    folder: PathBuf,
    command: Vec<OsString>,
}

impl Start {
    /// To be called before the process has a title, which takes the place of its command line.
    pub(crate) fn new(arguments: Vec<OsString>, folder: PathBuf) -> Self {
        Self {
            arguments,
            folder,
            command: command_line(),
        }
    }

    /// What was typed, for later.
    pub(crate) fn read(&self) -> Result<Started, Error> {
        Started::read(self.arguments.clone(), environment(), &self.folder)
    }

    /// What the files say now.
    pub(crate) fn read_again(&self, started: &Started) -> Result<Again, Error> {
        started.read_again(self.arguments.clone(), environment(), &self.folder)
    }

    /// What to start for the same server once more: whatever is there by then. With the wheel that is the interpreter of
    /// the virtual environment, whose first argument is the script.
    pub(crate) fn program(&self) -> Program {
        let name = self.command.first().cloned().unwrap_or_default();
        Program {
            path: find(&name, &self.folder, std::env::var_os("PATH").as_deref()),
            arguments: self.command.clone(),
            folder: self.folder.clone(),
        }
    }
}

fn environment() -> impl Iterator<Item = (OsString, OsString)> {
    std::env::vars_os()
}

/// The whole command line as the kernel has it: the arguments that Rust knows are those of the interpreter with one door,
/// and of the program with the other.
fn command_line() -> Vec<OsString> {
    let bytes = std::fs::read("/proc/self/cmdline").unwrap_or_default();
    let bytes = bytes.strip_suffix(b"\0").unwrap_or(&bytes);
    if bytes.is_empty() {
        return std::env::args_os().collect();
    }
    let parts = bytes.split(|byte| *byte == 0);
    parts
        .map(|part| OsStr::from_bytes(part).to_owned())
        .collect()
}

/// The program of this name, as a shell would find it. Not the file that runs: that one may have been replaced.
fn find(name: &OsStr, folder: &Path, path: Option<&OsStr>) -> PathBuf {
    if name.as_bytes().contains(&b'/') {
        return folder.join(name);
    }
    let folders = path.map(std::env::split_paths).into_iter().flatten();
    let found = folders
        .map(|place| folder.join(place).join(name))
        .find(|program| program.is_file());
    found.unwrap_or_else(|| PathBuf::from("/proc/self/exe"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_as_a_shell_finds_it() {
        let folder = Path::new("/srv/site");
        let find = |name: &str, path: &str| find(OsStr::new(name), folder, Some(OsStr::new(path)));
        assert_eq!(find("/opt/rwsgi", ""), Path::new("/opt/rwsgi"));
        assert_eq!(find("bin/rwsgi", ""), Path::new("/srv/site/bin/rwsgi"));
        assert_eq!(find("sh", "/nowhere:/bin"), Path::new("/bin/sh"));
        assert_eq!(find("no-such-program", "/bin"), Path::new("/proc/self/exe"));
    }

    #[test]
    fn the_command_line_is_the_whole_one() {
        assert_eq!(command_line(), std::env::args_os().collect::<Vec<_>>());
    }
}
