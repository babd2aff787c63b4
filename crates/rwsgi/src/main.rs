//! The binary, which embeds CPython.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(rwsgi::run(std::env::args_os().skip(1)))
}
