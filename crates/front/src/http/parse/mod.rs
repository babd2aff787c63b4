//! The strict reading of what a client sends, byte by byte.
//!
//! RFC 9112 lets a recipient forgive much: bare line feeds, repeated codings, several Hosts. Two programs that forgive
//! differently see two requests where there is one, which is how requests are smuggled. So a head is handed on only when it
//! is whole and leaves nothing to interpret, and a chunk as far as its framing is right.
//!
//! Nothing here depends on how the bytes were cut on their way: a head is judged line by line, a chunked body byte by
//! byte.

mod chunked;
mod classes;
mod fault;
mod head;
mod host;
mod parser;
#[cfg(test)]
mod tests;

pub(crate) use classes::is_path;
pub(crate) use fault::{Fault, Limits};
pub(crate) use head::{Connection, Expects, HeadIndex, Target, split_target};
pub(crate) use parser::Parser;
