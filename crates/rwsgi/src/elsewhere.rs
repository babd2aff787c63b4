//! Through the wheel: the interpreter of another environment, where one was chosen.
//!
//! The command may be installed apart from the site, as by pipx or `uv tool`. The site's environment then has to be that of
//! its own interpreter: `sys.prefix`, `sys.executable` and what its `.pth` files add are wanted, too. So this process becomes
//! that interpreter, which loads the server's extension module by its path.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use wsgi::{Interpreter, StartError};

use crate::options::Config;
use crate::release::chosen_python;
use crate::start::command_line;

/// The script, beside the extension module, that the other interpreter runs.
pub(crate) const SCRIPT: &str = "_enter.py";

/// Words of its command line before the one that was typed: interpreter, script, module, number.
pub(crate) const WORDS: usize = 4;

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

/// Becomes the interpreter that was chosen, with the same command; `arguments` says how many of its words are the server's.
/// Returns when it is this one, and with what is in the way.
pub(crate) fn go(config: &Config, module: &Path, arguments: usize) -> Option<Problem> {
    let (place, python) = chosen_python(config)?;
    let program = match Interpreter::other(&python) {
        Ok(program) => program?,
        Err(problem) => return Some(Problem::Chosen { place, problem }),
    };
    let command = command_line();
    let source = Command::new(&program)
        .arg(module.with_file_name(SCRIPT))
        .arg(module)
        .arg(command.len().saturating_sub(arguments).to_string())
        .args(command)
        .exec();
    Some(Problem::Started { program, source })
}
