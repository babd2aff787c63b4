//! HTTP/1.0 and HTTP/1.1 (RFC 9112).

mod body;
mod connection;
mod encode;
mod io;
mod send;
#[cfg(test)]
mod tests;

pub(crate) use connection::serve;
