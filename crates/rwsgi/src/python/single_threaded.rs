//! With the wheel: makes the supervisor the only thread of its process.
//!
//! `opentelemetry-instrument`, `ddtrace-run`, an injected `sitecustomize` and debuggers start threads before the
//! server runs. Such a thread has the supervisor's signals unblocked, so they would end the process; and a fork
//! copies only the calling thread, so a hook of `os.register_at_fork` that waits for another thread would wait for
//! ever.
//!
//! So this process executes the same interpreter again, with the same options but without `site`, which loads
//! agents: this is the supervisor. Each mold does what `site` does, and starts the agent with its threads, before
//! the application is loaded and children are forked.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;

use wsgi::Running;

use super::reexec::{By, Imported, Manner};
use crate::host::invocation::MARK;
use crate::log;

/// Executes an interpreter without other threads, if there are any. Returns when there are none, or after an error,
/// which was logged.
pub(crate) fn become_single_threaded(imported: &Imported, arguments: &[OsString]) {
    let own = std::process::id().to_string();
    // An executable that is no interpreter, such as a frozen application, gets here again.
    let again = std::env::var_os(MARK).is_some_and(|process| process == *own);
    if supervisor::threads().unwrap_or(1) < 2 || again || imported.by == By::Alone {
        return;
    }
    let problem = match Running::look() {
        Ok(running) => run_single_threaded(running, imported, arguments),
        Err(problem) => io::Error::other(problem),
    };
    // The server continues: this error is not fatal.
    log::print_error(&format!(
        "rwsgi: cannot begin anew without the threads that were started before the server: {problem}"
    ));
}

fn run_single_threaded(running: Running, imported: &Imported, arguments: &[OsString]) -> io::Error {
    let mut options = options(&running.command);
    if running.has_site {
        options.push("-S".into());
    }
    let manner = Manner {
        options: &options,
        left_out: Some(if running.has_site { "site" } else { "nothing" }),
        path: &running.path,
    };
    imported.run_in(&running.executable, manner, arguments)
}

/// The interpreter options in a command line, without those that select something else than running a program.
fn options(words: &[OsString]) -> Vec<OsString> {
    let mut options = Vec::new();
    let mut words = words.iter().skip(1);
    while let Some(word) = words.next() {
        let Some(letters) = word.as_bytes().strip_prefix(b"-") else {
            break;
        };
        if letters.is_empty() || letters == b"-" {
            break;
        }
        if letters.starts_with(b"-") {
            options.push(word.clone());
            // The only option whose value is the next word.
            if letters == b"-check-hash-based-pycs" {
                options.extend(words.next().cloned());
            }
            continue;
        }
        for (index, letter) in letters.iter().enumerate() {
            let option = OsStr::from_bytes(&[b'-', *letter]).to_owned();
            match letter {
                // The program and its arguments follow.
                b'c' | b'm' => return options,
                b'W' | b'X' => {
                    let rest = &letters[index + 1..];
                    let value = if rest.is_empty() {
                        words.next().cloned()
                    } else {
                        Some(OsStr::from_bytes(rest).to_owned())
                    };
                    options.push(option);
                    options.extend(value);
                    break;
                }
                b'i' | b'x' | b'h' | b'?' | b'V' => {}
                _ => options.push(option),
            }
        }
    }
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_options_of_the_interpreter_end_where_the_program_begins() {
        for (line, expected) in [
            ("python", ""),
            ("python /venv/bin/rwsgi -b :80", ""),
            ("python -m rwsgi -X dev", ""),
            ("python -Im rwsgi -s", "-I"),
            (
                "python -X dev -Xutf8 -Wd -W error -OOu app.py",
                "-X dev -X utf8 -W d -W error -O -O -u",
            ),
            ("python -Bc code", "-B"),
            (
                "python -Bqi -X faulthandler app.py -E",
                "-B -q -X faulthandler",
            ),
            (
                "python --check-hash-based-pycs never -P app.py",
                "--check-hash-based-pycs never -P",
            ),
            ("python -E -- -s", "-E"),
            ("python - -s", ""),
            ("python -X", "-X"),
        ] {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            let found = options(&words);
            let found: Vec<_> = found.iter().map(|word| word.to_str().unwrap()).collect();
            assert_eq!(found.join(" "), expected, "{line}");
        }
    }
}
