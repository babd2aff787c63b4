//! The client of the control socket.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(rwsgi::control(std::env::args_os().skip(1)))
}
