//! Requests and responses, independent of the version of HTTP and of sockets.

mod body;
mod date;
mod error_response;
mod file;
mod head;
pub(crate) mod parse;
mod piece;
mod request;
mod response;
pub(crate) mod response_head;

pub(crate) use body::{Body, IN_MEMORY, Spool};
pub(crate) use date::Date;
pub(crate) use error_response::ErrorResponse;
pub(crate) use file::FileBody;
pub(crate) use head::RequestHead;
pub(crate) use piece::{FilePiece, Piece};
pub(crate) use request::{Peer, Request};
pub(crate) use response::{Next, Parts, Response, Rest};
