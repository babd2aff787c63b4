//! rwsgi, a preforking WSGI application server: the crate of the programs, above the crates of its parts.
//!
//! [`run`] is the server, and [`control`] the client of a running server. Dependencies run downwards:
//!
//! - `module`: the extension module for Python; `main.rs` is the entry point of the binary.
//! - `cli`: the commands. Options are read, then either one thing is printed, or the application is checked
//!   (`cli::check`), or it is served (`cli::serve`): listeners are bound, the exchange is made, and this process becomes the
//!   supervisor. `cli::ctl` is `rwsgictl`.
//! - `process`: the processes that are forked then: `roles` starts them, `mold` and `child` are their main
//!   functions.
//! - `python`: the interpreter that this process is, or becomes.
//! - `host`: the server's environment: folders, user, sizes, invocation.
//! - [`config`]: the options.
//! - `log`: the server's own log.

#![forbid(unsafe_code)]

mod cli;
pub mod config;
mod host;
mod log;
mod module;
mod process;
mod python;

use std::ffi::OsString;

/// Runs the command `rwsgi` with these arguments (without the program's name), and returns its exit code.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    cli::run(arguments, None)
}

/// Runs the command `rwsgictl` with these arguments (without the program's name), and returns its exit code.
pub fn control(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    cli::control(arguments)
}
