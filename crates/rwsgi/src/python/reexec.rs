//! With the wheel: replaces this process by another interpreter, where the importing one is unsuitable.
//!
//! The command may be installed outside of the site's environment, as by pipx or `uv tool`. The site then needs its
//! own interpreter: `sys.prefix`, `sys.executable` and `.pth` files must be right, too. So this process executes
//! that interpreter, which loads the server's extension module by its path.
//!
//! The other case: an agent has already started threads from `sitecustomize` (`single_threaded`).

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use wsgi::{Interpreter, StartError};

use crate::config::Config;
use crate::host::invocation::{MARK, command_line, environment_for_programs};
use crate::host::release::chosen_python;

/// The script for the interpreter, beside the extension module.
const SCRIPT: &str = "_enter.py";

/// Why the chosen interpreter cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Problem {
    #[error("{place}: {problem}")]
    Chosen {
        place: &'static str,
        problem: StartError,
    },
    #[error("{program} cannot be started")]
    Started { program: PathBuf, source: io::Error },
}

/// The file of the extension module, and the program name of its importer.
#[derive(Clone, Debug)]
pub(crate) struct Imported {
    pub(crate) module: PathBuf,
    pub(crate) name: OsString,
    pub(crate) by: By,
}

/// Which interpreter has imported the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// The one for which the command was installed.
    First,
    /// The chosen one.
    Chosen,
    /// One that was started without the code that starts threads.
    Alone,
}

/// How an interpreter is started.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Manner<'a> {
    /// Options before the script.
    pub(crate) options: &'a [OsString],
    /// The code that a mold must run because it was left out of the start; `None` when nothing was.
    pub(crate) left_out: Option<&'a str>,
    /// The `sys.path` for a mold.
    pub(crate) path: &'a [OsString],
}

impl Imported {
    /// Executes this interpreter, to run the server with these arguments. Returns only when that fails.
    pub(crate) fn run_in(
        &self,
        program: &Path,
        manner: Manner<'_>,
        arguments: &[OsString],
    ) -> io::Error {
        let counted = |words: &[OsString]| {
            let mut counted = vec![OsString::from(words.len().to_string())];
            counted.extend_from_slice(words);
            counted
        };
        let mut command = Command::new(program);
        command
            .args(manner.options)
            .arg(self.module.with_file_name(SCRIPT))
            .arg(&self.module)
            .arg(manner.left_out.unwrap_or("-"))
            .arg(&self.name)
            .args(counted(arguments))
            .args(counted(manner.path))
            .args(command_line())
            .env_clear()
            .envs(environment_for_programs());
        if manner.left_out.is_some() {
            command.env(MARK, std::process::id().to_string());
        }
        command.exec()
    }
}

/// Executes the chosen interpreter with the same arguments. Returns `None` when it is this one, and the problem
/// when that fails.
pub(crate) fn go(config: &Config, imported: &Imported, arguments: &[OsString]) -> Option<Problem> {
    if imported.by != By::First {
        return None;
    }
    let (place, python) = chosen_python(config)?;
    let program = match Interpreter::other(&python) {
        Ok(program) => program?,
        Err(problem) => return Some(Problem::Chosen { place, problem }),
    };
    let source = imported.run_in(&program, Manner::default(), arguments);
    Some(Problem::Started { program, source })
}
