//! The supervisor with real processes: this program starts itself as a server whose front, mold and children print
//! lines about what they do. The test kills and stops them and reads the lines.

#![expect(clippy::unwrap_used, reason = "a test")]
#![expect(
    clippy::print_stdout,
    reason = "the lines are what the test listens to, and its result"
)]

mod scenarios;
mod server;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.split_first() {
        Some((first, options)) if first == "serve" => server::serve(options),
        _ => scenarios::run(
            arguments
                .iter()
                .find(|argument| !argument.starts_with('-'))
                .map(String::as_str),
        ),
    }
}
