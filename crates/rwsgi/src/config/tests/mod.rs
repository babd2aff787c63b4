//! Options from the operator's point of view: input and result.

mod mistakes;
mod print;
mod resolve;
mod sources;

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use supervisor::Address;
use tempfile::TempDir;

use super::configuration::{
    AccessTarget, Budget, Config, ControlPlace, Elastic, LogFormat, LogLevel, Policy, Preload,
    Target,
};
use super::error::Error;
use super::print::{SHARE, check_fresh, completions, help, man, reference};
use super::table::OPTIONS;
use super::{Command, read};

/// A temporary folder.
struct Folder(TempDir);

impl Folder {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for (name, text) in files {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    fn join(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Reads a command line, split at spaces, and an environment, in this folder.
    fn read(&self, args: &str, env: &[(&str, &str)]) -> Result<Command, Error> {
        let env = env
            .iter()
            .map(|(name, value)| (OsString::from(name), OsString::from(value)));
        read(
            args.split_whitespace().map(OsString::from),
            env,
            self.0.path(),
        )
    }

    /// The configuration for serving.
    fn serve(&self, args: &str, env: &[(&str, &str)]) -> Config {
        match self.read(args, env) {
            Ok(Command::Serve(config)) => *config,
            other => panic!("{args}: {other:?}"),
        }
    }

    /// The exit code and the message of an error.
    fn fail(&self, args: &str, env: &[(&str, &str)]) -> (u8, String) {
        match self.read(args, env) {
            Err(error) => (error.exit_code(), error.to_string()),
            Ok(other) => panic!("{args}: {other:?}"),
        }
    }

    fn print(&self, args: &str, env: &[(&str, &str)]) -> String {
        match self.read(args, env) {
            Ok(Command::Print(text)) => text,
            other => panic!("{args}: {other:?}"),
        }
    }
}

/// Reads a command line without a configuration file, and expects this message and exit code 64.
fn check_usage(args: &str, message: &str) {
    assert_eq!(
        Folder::new(&[]).fail(args, &[]),
        (64, format!("command line: {message}")),
        "{args}"
    );
}

/// Reads `rwsgi.toml`, and expects this message and exit code 78.
fn check_file(text: &str, message: &str) {
    let folder = Folder::new(&[("rwsgi.toml", text)]);
    assert_eq!(folder.fail("", &[]), (78, message.to_owned()), "{text}");
}

fn module(name: &str) -> Target {
    Target::Module {
        module: name.to_owned(),
        callable: None,
    }
}
