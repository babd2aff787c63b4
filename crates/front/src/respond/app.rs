//! The application's response: the request is offered to the children, and one of them responds.

use std::future::poll_fn;
use std::rc::Rc;

use exchange::{Full, Lines, Request as Offered};

use crate::http::{Body, ErrorResponse, Next, Parts, Peer, Request, Response};
use crate::upstream::{Pending, Upstream};

/// Hands a request to the application, and waits for the first part of the response.
pub(crate) async fn respond(
    upstream: &Rc<Upstream>,
    request: Request,
) -> Result<Response, ErrorResponse> {
    let mut pending = offer(upstream, request).await?;
    match poll_fn(|context| pending.poll_next(context)).await {
        Next::Lost if pending.has_waited_too_long() => Err(ErrorResponse::QueuedTooLong),
        Next::Lost => Err(ErrorResponse::ChildLost),
        // Lost before any head: the application failed, and its traceback is in the log.
        Next::Part(part) if part.head == 0 => Err(ErrorResponse::ApplicationFailed),
        // The first part is always in memory.
        Next::File(_) => Err(ErrorResponse::ApplicationFailed),
        Next::Part(part) => Ok(Response::new(part, pending)),
    }
}

/// Offers the request to the children; a body without room in memory goes to a file.
async fn offer(upstream: &Rc<Upstream>, mut request: Request) -> Result<Pending, ErrorResponse> {
    let offered = match try_offer(upstream, &request) {
        Err(Full::Memory | Full::TooLarge) if matches!(request.body, Body::Memory(..)) => {
            request.body = request.body.into_file(upstream.disk()).await?;
            try_offer(upstream, &request)
        }
        offered => offered,
    };
    let pending = offered.map_err(|full| match full {
        Full::Queue | Full::Memory => ErrorResponse::Busy,
        Full::TooLarge => ErrorResponse::HeadTooLarge,
    })?;
    if let Body::File(file, _) = request.body {
        pending.keep(file);
    }
    // Only now: a thread may have asked for the body already, and such requests are handled when responses are
    // read.
    upstream.offered();
    Ok(pending)
}

fn try_offer(upstream: &Rc<Upstream>, request: &Request) -> Result<Pending, Full> {
    let Request { head, body, peer } = request;
    let target = head.target();
    let (server_name, server_port) = server(head.host(), peer);
    upstream.offer(&Offered {
        method: head.method(),
        path: target.path,
        query: target.query.unwrap_or_default(),
        version: head.version(),
        https: false,
        remote_addr: peer.remote.0.as_bytes(),
        remote_port: peer.remote.1,
        server_name,
        server_port,
        authority: target.authority,
        fields: Lines::new(head.fields()),
        body: body.place(),
    })
}

/// `SERVER_NAME` is the host that the client has asked for, `SERVER_PORT` the port that the request came in on (RFC 3875 sections
/// 4.1.14 and 4.1.15). A unix socket has none: there it is that of the host.
fn server<'a>(host: &'a [u8], peer: &'a Peer) -> (&'a [u8], u16) {
    let (name, port) = match memchr::memrchr(b':', host) {
        // In `[::1]` the last colon is part of the address.
        Some(colon) if !host.ends_with(b"]") => (&host[..colon], &host[colon + 1..]),
        _ => (host, &[][..]),
    };
    if name.is_empty() {
        return (peer.local.0.as_bytes(), peer.local.1);
    }
    if peer.is_tcp() {
        return (name, peer.local.1);
    }
    let port = std::str::from_utf8(port)
        .ok()
        .and_then(|port| port.parse().ok());
    (name, port.unwrap_or(peer.local.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_that_of_the_host_and_the_port_that_of_the_listener() {
        let client = "127.0.0.1:50000".parse().unwrap();
        let tcp = Peer::tcp(client, &"127.0.0.1".into(), 8000);
        let unix = Peer::unix();
        for (host, name, of_unix) in [
            ("", "", 80),
            (":81", "", 80),
            ("site", "site", 80),
            ("site:", "site", 80),
            ("site:8080", "site", 8080),
            ("[::1]", "[::1]", 80),
            ("[::1]:8080", "[::1]", 8080),
        ] {
            for (peer, port) in [(&tcp, 8000), (&unix, of_unix)] {
                let name = if name.is_empty() {
                    &*peer.local.0
                } else {
                    name
                };
                let found = server(host.as_bytes(), peer);
                assert_eq!(found, (name.as_bytes(), port), "{host}");
            }
        }
    }
}
