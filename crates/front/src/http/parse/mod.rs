//! The strict parser of what a client sends.
//!
//! RFC 9112 lets a recipient tolerate much: bare line feeds, repeated codings, several Hosts. Two programs that
//! tolerate different things see two requests where there is one, which enables request smuggling. So a head is
//! passed on only when it is complete and unambiguous, and chunks only as far as their framing is valid.
//!
//! The result does not depend on how the bytes were split on their way: a head is judged line by line, a chunked
//! body byte by byte.

mod chunked;
mod classes;
mod fault;
mod head;
mod host;
mod parser;
#[cfg(test)]
mod tests;

pub(crate) use classes::is_target;
pub(crate) use fault::{Fault, Limits};
pub(crate) use head::{Connection, Expects, HeadIndex, Target, split_target};
pub(crate) use parser::Parser;
