//! `rwsgictl`: asks a running server over its control socket.

mod ask;
mod measure;
mod show;
mod words;

use std::ffi::OsString;
use std::path::PathBuf;

use lexopt::{Arg, Parser, ValueExt};
use supervisor::control::{Answer, Command};
use supervisor::exit;

use super::output::{print, report_error};
use crate::log;

/// The parsed command line.
#[derive(Debug, PartialEq, Eq)]
enum Typed {
    Print(String),
    Ask {
        control: Option<PathBuf>,
        command: Command,
        json: bool,
    },
}

/// Runs the command with these arguments (without the program's name), and returns its exit code.
pub(crate) fn run(
    arguments: impl IntoIterator<Item = OsString>,
    variable: impl Fn(&str) -> Option<String>,
) -> u8 {
    let asked = match read(arguments) {
        Ok(asked) => asked,
        Err(problem) => return refuse(exit::USAGE, &format!("command line: {problem}")),
    };
    match asked {
        Typed::Print(text) => print(&text),
        Typed::Ask {
            control,
            command,
            json,
        } => {
            let given = control.or_else(|| Some(variable("RWSGI_CONTROL")?.into()));
            let given = given.filter(|path| !path.as_os_str().is_empty());
            match ask::ask(given, &command, variable, &mut progress) {
                Ok(answer) => show_answer(answer, json),
                Err(problem) => report(&problem),
            }
        }
    }
}

/// Prints a progress line.
fn progress(message: &str) {
    log::print_error(message);
}

/// Prints an answer; returns the exit code.
fn show_answer(answer: Answer, json: bool) -> u8 {
    match answer {
        Answer::Status(mut status) => {
            measure::measure(&mut status);
            print(&if json {
                show::json(&status)
            } else {
                show::table(&status)
            })
        }
        Answer::Done { message } | Answer::Progress { message } => print(&format!("{message}\n")),
        Answer::Failed { reason, traceback } => {
            if let Some(traceback) = traceback {
                log::print_error(&traceback);
            }
            refuse(exit::FAILED, &reason)
        }
    }
}

fn report(problem: &ask::AskError) -> u8 {
    let code = match problem {
        ask::AskError::Garbled(_) => exit::INTERNAL,
        _ => exit::UNAVAILABLE,
    };
    report_error("rwsgictl", code, &problem.to_string(), problem)
}

fn refuse(code: u8, what: &str) -> u8 {
    report_error(
        "rwsgictl",
        code,
        what,
        &std::io::Error::other(what.to_owned()),
    )
}

/// Parses the command line. The error is a sentence.
fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Typed, String> {
    let mut parser = Parser::from_args(arguments);
    let (mut control, mut command, mut number) = (None, None, None);
    let (mut json, mut now) = (false, false);
    while let Some(argument) = parser.next().map_err(|problem| problem.to_string())? {
        match argument {
            Arg::Long("control") => {
                let path = parser.value().map_err(|problem| problem.to_string())?;
                control = Some(PathBuf::from(path));
            }
            Arg::Long("json") => json = true,
            Arg::Long("now") => now = true,
            Arg::Short('h') | Arg::Long("help") => return Ok(Typed::Print(words::help())),
            Arg::Short('V') | Arg::Long("version") => {
                return Ok(Typed::Print(format!(
                    "rwsgictl {}\n",
                    env!("CARGO_PKG_VERSION")
                )));
            }
            Arg::Value(word) if command.is_none() => {
                command = Some(word.string().map_err(|problem| problem.to_string())?);
            }
            Arg::Value(word) if command.as_deref() == Some("scale") && number.is_none() => {
                number = Some(count(&word.to_string_lossy())?);
            }
            other => return Err(other.unexpected().to_string()),
        }
    }
    let command = match command.as_deref() {
        Some("status") => Command::Status,
        Some("stop") => Command::Stop { now },
        Some("reload") => Command::Reload,
        Some("scale") => Command::Scale {
            children: number.ok_or("scale needs a number of processes")?,
        },
        Some(other) => {
            return Err(format!(
                "unknown command {other:?}: there are {}",
                words::names()
            ));
        }
        None => return Err(format!("no command: there are {}", words::names())),
    };
    if json && command != Command::Status {
        return Err("--json goes with status".to_owned());
    }
    match command {
        Command::Status | Command::Reload | Command::Scale { .. } if now => {
            Err("--now goes with stop".to_owned())
        }
        command => Ok(Typed::Ask {
            control,
            command,
            json,
        }),
    }
}

fn count(word: &str) -> Result<u16, String> {
    let number = word.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| {
        format!(
            "scale {word:?} must be a whole number from 1 to {}",
            u16::MAX
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(line: &str) -> Result<Typed, String> {
        read(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn a_command_line_is_one_command_with_its_options() {
        let status = |control: Option<&str>, json| {
            Ok(Typed::Ask {
                control: control.map(PathBuf::from),
                command: Command::Status,
                json,
            })
        };
        assert_eq!(typed("status"), status(None, false));
        assert_eq!(
            typed("--control /a/b status --json"),
            status(Some("/a/b"), true)
        );
        assert_eq!(typed("status --control=/a/b"), status(Some("/a/b"), false));
        assert_eq!(
            typed("stop --now"),
            Ok(Typed::Ask {
                control: None,
                command: Command::Stop { now: true },
                json: false
            })
        );
        for (line, problem) in [
            ("", "no command"),
            ("start", "unknown command \"start\""),
            ("status now", "unexpected argument"),
            ("status --now", "--now goes with stop"),
            ("stop --json", "--json goes with status"),
            ("--control", "missing argument"),
            ("scale", "scale needs a number"),
            ("scale many", "scale \"many\" must be a whole number"),
            (
                "scale 0",
                "scale \"0\" must be a whole number from 1 to 65535",
            ),
            ("scale 1 2", "unexpected argument"),
            ("reload --now", "--now goes with stop"),
            ("--verbose status", "--verbose"),
        ] {
            let error = typed(line).unwrap_err();
            assert!(error.contains(problem), "{line}: {error}");
        }
    }
}
