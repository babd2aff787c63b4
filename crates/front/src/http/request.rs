//! A request that has been read completely.

use std::net::SocketAddr;
use std::rc::Rc;

use super::body::Body;
use super::head::RequestHead;

/// A request.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) head: RequestHead,
    pub(crate) body: Body,
    pub(crate) peer: Rc<Peer>,
}

/// The addresses of both ends of a connection.
#[derive(Debug)]
pub(crate) struct Peer {
    /// Address as text and port of the client; empty and 0 on a unix socket.
    pub(crate) remote: (String, u16),
    /// The server's name and port for a request without a Host.
    pub(crate) local: (Rc<str>, u16),
}

impl Peer {
    pub(crate) fn tcp(remote: SocketAddr, name: &Rc<str>, port: u16) -> Self {
        Self {
            remote: (remote.ip().to_canonical().to_string(), remote.port()),
            local: (Rc::clone(name), port),
        }
    }

    /// Whether it has a port.
    pub(crate) fn is_tcp(&self) -> bool {
        !self.remote.0.is_empty()
    }

    pub(crate) fn unix() -> Self {
        Self {
            remote: (String::new(), 0),
            local: ("localhost".into(), 80),
        }
    }
}
