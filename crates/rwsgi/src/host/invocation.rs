//! How this server was started: to read the options again, and to start a successor in the same way.

use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use supervisor::Program;
use wsgi::Interpreter;

use crate::config::{Again, Error, Started};

/// The variable with the process id of a process that has already replaced itself by an interpreter without
/// threads: it does so once.
pub(crate) const MARK: &str = "_RWSGI_ALONE";

/// The arguments and the folder; the environment has not changed since.
#[derive(Clone, Debug)]
pub(crate) struct Invocation {
    arguments: Vec<OsString>,
    folder: PathBuf,
    command: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
}

impl Invocation {
    /// To be called before the process sets its title, which overwrites the command line and the environment.
    pub(crate) fn new(arguments: Vec<OsString>, folder: PathBuf) -> Self {
        Self {
            arguments,
            folder,
            command: command_line(),
            environment: environment_for_programs(),
        }
    }

    /// The folder in which the server was started, by its name at that time.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The options as given, for later comparison.
    pub(crate) fn read(&self) -> Result<Started, Error> {
        Started::read(self.arguments.clone(), environment(), &self.folder)
    }

    /// Reads the options again.
    pub(crate) fn read_again(&self, started: &Started) -> Result<Again, Error> {
        started.read_again(self.arguments.clone(), environment(), &self.folder)
    }

    /// The program for a successor: whatever is at its path by then. With the wheel that is the script, whose first
    /// line names the interpreter: a new release may have its own environment.
    pub(crate) fn program(&self) -> Program {
        let is_script = |name: &OsString| is_script(&self.folder.join(name));
        let through_script =
            Interpreter::is_running() && self.command.get(1).is_some_and(is_script);
        let skipped = usize::from(through_script);
        let arguments = self.command[skipped..].to_vec();
        let name = arguments.first().cloned().unwrap_or_default();
        Program {
            path: find(&name, &self.folder, std::env::var_os("PATH").as_deref()),
            arguments,
            folder: self.folder.clone(),
            environment: self.environment.clone(),
            descriptors: Vec::new(),
        }
    }
}

/// The folder in which the server is started, by the name under which it was entered, like `pwd -L`: a deploy may
/// point `current` to another folder, which is then the one to enter.
///
/// `PWD` is not always set: systemd does not set it. Then the program or its virtual environment may be in the
/// folder, and their paths show the name.
///
/// # Errors
/// When the folder has been removed.
pub(crate) fn folder() -> io::Result<PathBuf> {
    let path = std::env::current_dir()?;
    // The current folder may be unreadable.
    let Ok(here) = fs::metadata(".") else {
        return Ok(path);
    };
    let variable = |name| std::env::var_os(name).map(PathBuf::from);
    let programs = command_line().into_iter().take(2).map(PathBuf::from);
    let found = name_of(
        &here,
        variable("PWD"),
        programs.chain(variable("VIRTUAL_ENV")),
    );
    Ok(found.unwrap_or(path))
}

/// The name of the folder `here`: `pwd` if it refers to it, otherwise a prefix of one of `paths` that does.
fn name_of(
    here: &Metadata,
    pwd: Option<PathBuf>,
    paths: impl Iterator<Item = PathBuf>,
) -> Option<PathBuf> {
    let is_name = |path: &PathBuf| {
        let mut parts = path.as_os_str().as_bytes().split(|byte| *byte == b'/');
        path.is_absolute()
            && !parts.any(|part| part == b"." || part == b"..")
            && fs::metadata(path)
                .is_ok_and(|found| (found.dev(), found.ino()) == (here.dev(), here.ino()))
    };
    let above = paths.flat_map(|path| {
        let parents: Vec<_> = path.ancestors().skip(1).map(Path::to_owned).collect();
        parents
    });
    pwd.into_iter().chain(above).find(is_name)
}

/// Whether the file is a script whose first line names an interpreter.
fn is_script(path: &Path) -> bool {
    let mut begin = [0; 2];
    fs::metadata(path).is_ok_and(|found| found.is_file() && found.mode() & 0o111 != 0)
        && fs::File::open(path).is_ok_and(|mut file| file.read_exact(&mut begin).is_ok())
        && &begin == b"#!"
}

fn environment() -> impl Iterator<Item = (OsString, OsString)> {
    std::env::vars_os()
}

/// The original command line, if this process has become another interpreter since.
static TYPED: OnceLock<Vec<OsString>> = OnceLock::new();

/// Records the original command line, instead of that of this interpreter.
pub(crate) fn typed(command: Vec<OsString>) {
    let _ = TYPED.set(command);
}

/// The whole command line from the kernel: Rust's arguments are those of the interpreter in the wheel, and of the
/// program in the binary.
pub(crate) fn command_line() -> Vec<OsString> {
    if let Some(typed) = TYPED.get() {
        return typed.clone();
    }
    let parts = texts("/proc/self/cmdline");
    if parts.is_empty() {
        return std::env::args_os().collect();
    }
    parts
}

/// The environment for a program that is to be started as this one was.
///
/// Agents that are loaded by variables of Python or of the dynamic loader change these variables, so that programs
/// started by the application are not affected. Here they have their original values.
pub(crate) fn environment_for_programs() -> Vec<(OsString, OsString)> {
    let at_start: Option<Vec<_>> = texts("/proc/self/environ").iter().map(variable).collect();
    merged(std::env::vars_os(), at_start.filter(|all| !all.is_empty()))
}

fn merged(
    now: impl Iterator<Item = (OsString, OsString)>,
    at_start: Option<Vec<(OsString, OsString)>>,
) -> Vec<(OsString, OsString)> {
    let loads = |name: &OsString| {
        let name = name.as_bytes();
        name.starts_with(b"PYTHON") || name.starts_with(b"LD_")
    };
    let now = now.filter(|(name, _)| name != MARK);
    match at_start {
        // The title has overwritten it, or the kernel hides it.
        None => now.collect(),
        Some(at_start) => {
            let kept = now.filter(|(name, _)| !loads(name));
            kept.chain(at_start.into_iter().filter(|(name, _)| loads(name)))
                .collect()
        }
    }
}

/// The zero-terminated strings in a file of /proc.
fn texts(file: &str) -> Vec<OsString> {
    let bytes = fs::read(file).unwrap_or_default();
    let bytes = bytes.strip_suffix(b"\0").unwrap_or(&bytes);
    if bytes.is_empty() {
        return Vec::new();
    }
    let parts = bytes.split(|byte| *byte == 0);
    parts
        .map(|part| OsStr::from_bytes(part).to_owned())
        .collect()
}

fn variable(text: &OsString) -> Option<(OsString, OsString)> {
    let bytes = text.as_bytes();
    let at = bytes.iter().position(|byte| *byte == b'=')?;
    let part = |bytes| OsStr::from_bytes(bytes).to_owned();
    Some((part(&bytes[..at]), part(&bytes[at + 1..])))
}

/// The program of this name, as a shell would find it. Not the running file, which may have been replaced.
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
    fn a_folder_has_the_name_by_which_it_was_entered() {
        let top = tempfile::tempdir().unwrap();
        let top = top.path();
        let [one, two, link] = ["1", "2", "current"].map(|name| top.join(name));
        fs::create_dir_all(one.join("bin")).unwrap();
        fs::create_dir_all(&two).unwrap();
        std::os::unix::fs::symlink("1", &link).unwrap();
        let here = fs::metadata(&one).unwrap();
        let name = |pwd: &Path, paths: &[PathBuf]| {
            name_of(&here, Some(pwd.to_owned()), paths.iter().cloned())
        };
        assert_eq!(name(&link, &[]), Some(link.clone()));
        assert_eq!(name(&two, &[]), None, "another folder");
        assert_eq!(name(&top.join("2/../1"), &[]), None, "no plain path");
        assert_eq!(name(Path::new("1"), &[]), None, "relative");
        let program = link.join("bin/rwsgi");
        let elsewhere = two.join("bin/rwsgi");
        assert_eq!(name(&two, &[elsewhere, program]), Some(link));
    }

    #[test]
    fn a_program_gets_what_loads_agents_as_it_was_at_the_start() {
        let pairs = |pairs: &[(&str, &str)]| -> Vec<(OsString, OsString)> {
            let pairs = pairs.iter();
            pairs
                .map(|(name, value)| (name.into(), value.into()))
                .collect()
        };
        let now = pairs(&[
            ("A", "new"),
            ("PYTHONPATH", "/app"),
            ("LD_PRELOAD", "x"),
            (MARK, "7"),
        ]);
        let at_start = pairs(&[("A", "old"), ("PYTHONPATH", "/agent:/app"), ("B", "1")]);
        assert_eq!(
            merged(now.clone().into_iter(), Some(at_start)),
            pairs(&[("A", "new"), ("PYTHONPATH", "/agent:/app")])
        );
        assert_eq!(
            merged(now.into_iter(), None),
            pairs(&[("A", "new"), ("PYTHONPATH", "/app"), ("LD_PRELOAD", "x")])
        );
        let split = |text: &str| variable(&text.into());
        assert_eq!(split("A=b=c"), Some(pairs(&[("A", "b=c")]).remove(0)));
        assert_eq!(split("rwsgi: a title"), None);
    }

    #[test]
    fn the_command_line_is_the_whole_one() {
        assert_eq!(command_line(), std::env::args_os().collect::<Vec<_>>());
    }
}
