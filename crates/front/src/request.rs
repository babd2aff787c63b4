//! A request's journey through the front, from its head to its response.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;

use exchange::{Full, HeaderWriter, Request as Offered};
use http::header::{CONTENT_LENGTH, EXPECT, HOST};
use http::{HeaderValue, Request, Response, Version};
use hyper::body::{Body as _, Incoming};
use tokio::time::Instant;

use crate::access::Record;
use crate::body::{self, Whole};
use crate::connection::{Clock, Phase};
use crate::counter::{self, Awaited};
use crate::file::Holes;
use crate::refuse::Refusal;
use crate::{Settings, answer};

/// Who is at the other end, and at ours.
#[derive(Debug)]
pub(crate) struct Peer {
    /// Address as text and port; empty and 0 on a unix socket.
    pub(crate) remote: (String, u16),
    /// What a request without a Host was sent to.
    pub(crate) local: (String, u16),
}

/// What the requests of a connection share.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) peer: Peer,
    pub(crate) settings: Rc<Settings>,
    pub(crate) clock: Clock,
    pub(crate) holes: Holes,
    /// The answer ends where the connection does.
    pub(crate) ends_by_close: Cell<bool>,
    /// Memory for the header fields, used again and again.
    pub(crate) spare: RefCell<HeaderWriter>,
}

/// Answers one request, one way or the other.
pub(crate) async fn answer(
    scene: Rc<Scene>,
    request: Request<Incoming>,
) -> Result<Response<answer::Body>, Infallible> {
    scene.clock.set(Phase::Busy);
    let (head, body) = request.into_parts();
    // Dropped on the way, with a client that has gone, it leaves its line all the same.
    let record = Record::begin(&scene, &head);
    let version = head.version;
    let mut response = match serve(&scene, &head, body).await {
        Ok(response) => response,
        Err(refusal) => {
            let scene = Rc::clone(&scene);
            refusal.response().map(|body| body.timed(scene))
        }
    };
    // RFC 9112 section 6.3: such an answer to HTTP/1.0 has neither chunks nor a length.
    let ends_by_close =
        version == Version::HTTP_10 && response.body().size_hint().exact().is_none();
    scene
        .ends_by_close
        .set(ends_by_close && !response.headers().contains_key(CONTENT_LENGTH));
    if let Some(mut record) = record {
        record.answered(response.status(), response.headers());
        response.body_mut().keep(record);
    }
    Ok(response)
}

async fn serve(
    scene: &Rc<Scene>,
    head: &http::request::Parts,
    body: Incoming,
) -> Result<Response<answer::Body>, Refusal> {
    check(head)?;
    // hyper asks for the body of an `Expect: 100-continue` when it is first read, after these checks.
    let body = if body.is_end_stream() {
        Whole::Memory(Vec::new())
    } else {
        body::read(body, &scene.settings).await?
    };
    let awaited = offer(scene, head, body)?;
    scene.clock.set(Phase::Offered(Instant::now()));
    answer::response(awaited, scene).await
}

/// What the head asks for that is not there.
fn check(head: &http::request::Parts) -> Result<(), Refusal> {
    let known = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"100-continue");
    if head.headers.get_all(EXPECT).iter().all(known) {
        Ok(())
    } else {
        Err(Refusal::UnknownExpectation)
    }
}

/// Hands the request over to the children; a body for which there is no memory goes to a file.
fn offer(scene: &Scene, head: &http::request::Parts, body: Whole) -> Result<Awaited, Refusal> {
    let offered = match try_offer(scene, head, &body) {
        Err(Full::Memory | Full::TooLarge)
            if let Whole::Memory(bytes) = &body
                && !bytes.is_empty() =>
        {
            let body = body::to_file(bytes)?;
            try_offer(scene, head, &body).map(|awaited| (awaited, body))
        }
        offered => offered.map(|awaited| (awaited, body)),
    };
    let (awaited, body) = offered.map_err(|full| match full {
        Full::Queue | Full::Memory => Refusal::Busy,
        Full::TooLarge => Refusal::HeadTooLarge,
    })?;
    if let Whole::File(file, _) = body {
        // A thread that has asked for it already is answered by this thread, and so not before now.
        awaited.keep(file);
    }
    Ok(awaited)
}

fn try_offer(scene: &Scene, head: &http::request::Parts, body: &Whole) -> Result<Awaited, Full> {
    let mut fields = scene.spare.borrow_mut();
    fields.clear();
    let authority = head.uri.authority();
    if let Some(authority) = authority {
        // RFC 9112 section 3.2.2: a target with an authority takes the place of the Host field.
        fields.push(b"host", authority.as_str().as_bytes());
    }
    for (name, value) in &head.headers {
        if authority.is_none() || name != HOST {
            fields.push(name.as_str().as_bytes(), value.as_bytes());
        }
    }
    let (server_name, server_port) = server(head, &scene.peer);
    let offered = Offered {
        method: head.method.as_str().as_bytes(),
        path: head.uri.path().as_bytes(),
        query: head.uri.query().unwrap_or_default().as_bytes(),
        http10: head.version == Version::HTTP_10,
        https: false,
        remote_addr: scene.peer.remote.0.as_bytes(),
        remote_port: scene.peer.remote.1,
        server_name: server_name.as_bytes(),
        server_port,
        headers: fields.headers(),
        body: body.place(),
    };
    counter::offer(&offered)
}

/// `SERVER_NAME` and `SERVER_PORT`: what the client believes to talk to (RFC 3875 sections 4.1.14 and 4.1.15).
fn server<'a>(head: &'a http::request::Parts, peer: &'a Peer) -> (&'a str, u16) {
    let local = (peer.local.0.as_str(), peer.local.1);
    let host = match head.uri.authority() {
        Some(authority) => Some(authority.as_str()),
        None => head.headers.get(HOST).and_then(|host| host.to_str().ok()),
    };
    let Some(host) = host else {
        return local;
    };
    let (name, port) = match host.rsplit_once(':') {
        // In `[::1]` the last colon is part of the address.
        Some((name, port)) if !port.ends_with(']') => (name, port.parse().ok()),
        _ => (host, None),
    };
    if name.is_empty() {
        local
    } else {
        (name, port.unwrap_or(80))
    }
}

impl Peer {
    pub(crate) fn tcp(remote: SocketAddr, name: &str, port: u16) -> Self {
        Self {
            remote: (remote.ip().to_canonical().to_string(), remote.port()),
            local: (name.to_owned(), port),
        }
    }

    pub(crate) fn unix() -> Self {
        Self {
            remote: (String::new(), 0),
            local: ("localhost".to_owned(), 80),
        }
    }
}
