//! Through the wheel: the interpreter that this process becomes, where the one that has imported the server will not do.
//!
//! The command may be installed apart from the site, as by pipx or `uv tool`. The site's environment then has to be that of
//! its own interpreter: `sys.prefix`, `sys.executable` and what its `.pth` files add are wanted, too. So this process becomes
//! that interpreter, which loads the server's extension module by its path.
//!
//! Or threads are running already, which an agent has started from `sitecustomize` (`single_threaded`).

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use wsgi::{Interpreter, StartError};

use crate::config::Config;
use crate::host::invocation::{MARK, command_line, environment_for_programs};
use crate::host::release::chosen_python;

/// The script, beside the extension module, that the interpreter runs.
const SCRIPT: &str = "_enter.py";

/// The interpreter that was chosen cannot be used.
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

/// The extension module in which this is, and what the program that has imported it calls itself.
#[derive(Clone, Debug)]
pub(crate) struct Imported {
    pub(crate) module: PathBuf,
    pub(crate) name: OsString,
    pub(crate) by: By,
}

/// Which interpreter has imported it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// The one that the command was installed for.
    First,
    /// The one that was chosen.
    Chosen,
    /// One that was started without what starts threads.
    Alone,
}

/// How an interpreter is to be started.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Manner<'a> {
    /// What stands before the script.
    pub(crate) options: &'a [OsString],
    /// What a mold is to do that is left out of the start; `None` when nothing is.
    pub(crate) left_out: Option<&'a str>,
    /// What `sys.path` is to be in a mold.
    pub(crate) path: &'a [OsString],
}

impl Imported {
    /// Becomes this interpreter, to run the server with these arguments in it. Returns when that is not possible.
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

/// Becomes the interpreter that was chosen, with the same arguments. Returns when it is this one, and with what is in the
/// way.
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
