//! What a command prints, and how it says what is wrong.

use std::io::Write;

use supervisor::exit;

use crate::log;

/// Some of standard input, output and error are closed, and what would be opened next would take their places.
pub(crate) fn without_descriptors(program: &str, error: &std::io::Error) -> u8 {
    let text = format!(
        "{program}: standard input, output or error is closed, and /dev/null cannot be opened instead: {error}\n"
    );
    // Standard error may be the one that is closed.
    let _ = std::io::stderr().write_all(text.as_bytes());
    exit::CANNOT_START
}

/// Writes what was asked for to standard output. A reader that has gone is no error.
pub(crate) fn print(text: &str) -> u8 {
    match supervisor::sink::print(text.as_bytes()) {
        Ok(()) => exit::OK,
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => exit::OK,
        Err(error) => complain(
            "rwsgi",
            exit::CANNOT_START,
            "cannot write to standard output",
            &error,
        ),
    }
}

/// One line with the error's causes on standard error.
pub(crate) fn complain(program: &str, code: u8, what: &str, error: &dyn std::error::Error) -> u8 {
    let chain = if what == error.to_string() {
        log::causes(error.source())
    } else {
        log::causes(Some(error))
    };
    log::complain(&format!("{program}: {what}{chain}"));
    code
}
