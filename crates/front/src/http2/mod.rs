//! HTTP/2 (RFC 9113), which hyper speaks: each stream becomes a request of its own.

mod body;
mod connection;
mod data;
mod kept;
mod preface;
mod request;
mod response;
mod streams;
#[cfg(test)]
mod tests;

pub(crate) use connection::serve;
pub(crate) use preface::{first_bytes, is_preface};
