//! Output and error messages of a command.

use std::io::Write;

use supervisor::exit;

use crate::log;

/// Reports that some of standard input, output and error are closed, so that files opened next would take their
/// place.
pub(crate) fn without_descriptors(program: &str, error: &std::io::Error) -> u8 {
    let text = format!(
        "{program}: standard input, output or error is closed, and /dev/null cannot be opened instead: {error}\n"
    );
    // Standard error may be the closed one.
    let _ = std::io::stderr().write_all(text.as_bytes());
    exit::CANNOT_START
}

/// Writes command output to standard output. A closed reader is no error.
pub(crate) fn print(text: &str) -> u8 {
    match supervisor::sink::print(text.as_bytes()) {
        Ok(()) => exit::OK,
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => exit::OK,
        Err(error) => report_error(
            "rwsgi",
            exit::CANNOT_START,
            "cannot write to standard output",
            &error,
        ),
    }
}

/// One line with the error's causes on standard error.
pub(crate) fn report_error(
    program: &str,
    code: u8,
    what: &str,
    error: &dyn std::error::Error,
) -> u8 {
    let chain = if what == error.to_string() {
        log::causes(error.source())
    } else {
        log::causes(Some(error))
    };
    log::print_error(&format!("{program}: {what}{chain}"));
    code
}
