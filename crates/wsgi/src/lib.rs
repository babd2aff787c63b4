//! The bridge to Python: starts or adopts an interpreter, loads the application, and turns a request of the exchange
//! into a WSGI call and its result into an answer.
//!
//! For each request, [`App::answer`] builds the dictionary (`environ`), calls the application with `start_response`, and
//! sends each part over the [`exchange::Reply`] as soon as the application has produced it (`answer`). Code that need not
//! be fast is Python: finding the application in `application.py`, its surroundings in `prelude.py`, the end of a process
//! in `ending.py`, the search for what a fork would break in `audit.py`, and what each child makes anew in `renew.py`.
//!
//! Threads, processes and sockets are made by the caller, never here.

mod answer;
mod app;
mod environ;
mod environ_cache;
mod file_wrapper;
mod header_keys;
mod hooks;
mod input;
mod interpreter;
mod package;
mod prelude;
mod response_start;
mod running;
mod serve;
mod start_response;
mod start_response_cache;
mod text;
mod warmup;

pub use app::{App, Audit, LoadError, Spec, Target, dump_stacks_after, watch};
pub use hooks::HookPoint;
pub use input::Fetched;
#[cfg(feature = "embed")]
pub use interpreter::Start;
pub use interpreter::{
    Interpreter, StartError, after_fork_child, after_fork_parent, before_fork, complete_start_with,
    follow_path,
};
pub use prelude::{
    TRACEBACK, Waits, forget_handlers, leave, module_count, module_files, unfinished,
};
pub use pyo3::Python;
pub use running::Running;
pub use serve::{ServingLock, forget_thread, name_thread, serve};
pub use warmup::Warmed;

#[cfg(test)]
mod tests;
