//! Finds the server, sends a command, and waits for the answer.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use supervisor::control::{Answer, Command, PROGRESS_EVERY};

use crate::host::runtime_dir;

/// The timeout for an answer: the server's loop does not block.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    #[error("no server answers at {}: there is no such socket", .0.display())]
    NoSocket(PathBuf),
    #[error("no server answers at {}: it is not a socket", .0.display())]
    NotASocket(PathBuf),
    #[error("no server answers at {}: nobody listens there any more", .0.display())]
    NobodyListens(PathBuf),
    #[error("no permission to ask at {}: be the user that the server runs as, or root", .0.display())]
    NoPermission(PathBuf),
    #[error("no server answers: there is none in {0}; --control names its socket")]
    NoneFound(String),
    #[error("there are several servers: name one of them with --control {0}")]
    Several(String),
    #[error("the server at {} does not answer", path.display())]
    Silent { path: PathBuf, source: io::Error },
    #[error("the server at {} has ended without an answer", .0.display())]
    Ended(PathBuf),
    #[error("what answers is no rwsgi of this version")]
    Garbled(#[source] serde_json::Error),
}

/// Asks the server at `control`, or the only running one.
pub(super) fn ask(
    control: Option<PathBuf>,
    command: &Command,
    variable: impl Fn(&str) -> Option<String>,
    progress: &mut dyn FnMut(&str),
) -> Result<Answer, AskError> {
    let (path, stream) = match control {
        Some(path) => {
            let stream = connect(&path)?;
            (path, stream)
        }
        None => find(&runtime_dir::folders(variable))?,
    };
    let silent = |source| AskError::Silent {
        path: path.clone(),
        source,
    };
    // A reload takes as long as the application's code. The server limits it, and sends progress lines.
    let patience = match command {
        Command::Reload => PROGRESS_EVERY + PATIENCE,
        _ => PATIENCE,
    };
    stream.set_read_timeout(Some(patience)).map_err(silent)?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(silent)?;
    // A command can always be written as JSON.
    let mut line = serde_json::to_vec(command).map_err(AskError::Garbled)?;
    line.push(b'\n');
    (&stream).write_all(&line).map_err(silent)?;
    let mut reader = BufReader::new(&stream);
    let answer = loop {
        let mut answer = String::new();
        reader.read_line(&mut answer).map_err(silent)?;
        if answer.is_empty() {
            return Err(AskError::Ended(path));
        }
        match serde_json::from_str(&answer).map_err(AskError::Garbled)? {
            Answer::Progress { message } => progress(&message),
            answer => break answer,
        }
    };
    if let (Command::Stop { .. }, Answer::Done { .. }) = (command, &answer) {
        // The connection ends with the server, within its shutdown timeout.
        stream.set_read_timeout(None).map_err(silent)?;
        reader.read_to_end(&mut Vec::new()).map_err(silent)?;
        return Ok(Answer::Done {
            message: "stopped".to_owned(),
        });
    }
    Ok(answer)
}

/// The server in the first folder that has one.
fn find(folders: &[PathBuf]) -> Result<(PathBuf, UnixStream), AskError> {
    let mut refused = None;
    for folder in folders {
        let mut alive = Vec::new();
        // In /tmp, any user could pretend to be a server.
        if *folder == runtime_dir::own_folder() && !runtime_dir::is_own(folder) {
            continue;
        }
        for path in runtime_dir::sockets(folder) {
            match connect(&path) {
                Ok(stream) => alive.push((path, stream)),
                Err(problem @ AskError::NoPermission(_)) => refused = Some(problem),
                Err(_) => {}
            }
        }
        if alive.len() > 1 {
            let paths: Vec<_> = alive
                .iter()
                .map(|(path, _)| path.display().to_string())
                .collect();
            return Err(AskError::Several(paths.join(" or ")));
        }
        if let Some(found) = alive.pop() {
            return Ok(found);
        }
    }
    let folders: Vec<_> = folders
        .iter()
        .map(|folder| folder.display().to_string())
        .collect();
    Err(refused.unwrap_or_else(|| AskError::NoneFound(folders.join(", "))))
}

fn connect(path: &Path) -> Result<UnixStream, AskError> {
    UnixStream::connect(path).map_err(|problem| {
        let path = path.to_owned();
        let is_socket = fs::metadata(&path).is_ok_and(|found| found.file_type().is_socket());
        match problem.kind() {
            io::ErrorKind::NotFound => AskError::NoSocket(path),
            io::ErrorKind::PermissionDenied => AskError::NoPermission(path),
            io::ErrorKind::ConnectionRefused if is_socket => AskError::NobodyListens(path),
            io::ErrorKind::ConnectionRefused => AskError::NotASocket(path),
            _ => AskError::Silent {
                path,
                source: problem,
            },
        }
    })
}
