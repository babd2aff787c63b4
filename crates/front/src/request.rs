//! A request's journey through the front, from its head to its response.
//!
//! A plain request goes the short way (`plain`); [`answer`] is the way of all others, on which hyper decodes the body and
//! frames the answer, and of plain ones whose answer is not.

use std::cell::Cell;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::Poll;

use crate::access::Record;
use crate::body::{self, Whole};
use crate::connection::{Clock, Phase};
use crate::counter::{self, Awaited, Next};
use crate::file::Holes;
use crate::heard::Heard;
use crate::refuse::Refusal;
use crate::strict::Expects;
use crate::{Settings, answer, clock, health};
use exchange::{Full, Lines, Part, Request as Offered};
use http::header::{CONNECTION, CONTENT_LENGTH};
use http::{HeaderValue, Request, Response, Version};
use hyper::body::{Body as _, Incoming};

/// Who is at the other end, and at ours.
#[derive(Debug)]
pub(crate) struct Peer {
    /// Address as text and port; empty and 0 on a unix socket.
    pub(crate) remote: (String, u16),
    /// What a request without a Host was sent to.
    pub(crate) local: (Rc<str>, u16),
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
    /// The answer that has begun announces that the connection ends with it (`Connection: close`).
    pub(crate) last: Cell<bool>,
    /// Every answer that begins from now on does so, on every connection: the server is about to stop.
    pub(crate) closing: Rc<Cell<bool>>,
}

impl Scene {
    /// Whether the answer that now begins is the connection's last, which it then stays.
    pub(crate) fn is_last(&self) -> bool {
        if self.closing.get() {
            self.last.set(true);
        }
        self.last.get()
    }
}

/// A request whose answer has begun, or that is not answered.
#[derive(Debug)]
pub(crate) struct Begun {
    /// Dropped on the way, with a client that has gone, it leaves its line all the same.
    pub(crate) record: Option<Record>,
    pub(crate) first: Result<First, Refusal>,
}

/// The first part of an answer.
#[derive(Debug)]
pub(crate) struct First {
    pub(crate) part: Part,
    /// Where the further parts come from; from nowhere when the front answers by itself.
    pub(crate) awaited: Option<Awaited>,
}

/// Answers a request that hyper has read, unless it has been begun before.
pub(crate) async fn answer(
    scene: Rc<Scene>,
    heard: Rc<Heard>,
    begun: Option<Begun>,
    request: Request<Incoming>,
) -> Result<Response<answer::Body>, Infallible> {
    let Begun { record, first } = match begun {
        Some(begun) => begun,
        None => {
            let record = Record::begin(&scene, &heard);
            let first = serve(&scene, &heard, request.into_body()).await;
            Begun { record, first }
        }
    };
    let response = first.and_then(|first| answer::response(first, &scene));
    let mut response = response.unwrap_or_else(|refusal| {
        if !refusal.keeps_connection() {
            scene.last.set(true);
        }
        refusal.response().map(|body| body.timed(Rc::clone(&scene)))
    });
    if scene.is_last() {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(CONNECTION, close);
    }
    // RFC 9112 section 6.3: such an answer to HTTP/1.0 has neither chunks nor a length.
    let unknown_length = response.body().size_hint().exact().is_none()
        && !response.headers().contains_key(CONTENT_LENGTH);
    let ends_by_close = heard.is_http10() && unknown_length;
    scene.ends_by_close.set(ends_by_close);
    if ends_by_close {
        // hyper promises whoever asks for it to keep the connection, unless the response is of this version itself.
        *response.version_mut() = Version::HTTP_10;
    }
    if let Some(mut record) = record {
        let fields = response.headers();
        record.answered(response.status(), |name| {
            fields.get(name).map(HeaderValue::as_bytes)
        });
        response.body_mut().keep(record);
    }
    Ok(response)
}

async fn serve(scene: &Scene, heard: &Heard, body: Incoming) -> Result<First, Refusal> {
    if heard.expects() == Expects::Other {
        return Err(Refusal::UnknownExpectation);
    }
    // hyper asks for the body of an `Expect: 100-continue` when it is first read.
    let body = if body.is_end_stream() {
        Whole::Memory(Vec::new())
    } else {
        body::read(body, &scene.settings).await?
    };
    begin(scene, heard, body).await
}

/// Hands a whole request over to whoever is to answer it, and waits for the first part of the answer.
pub(crate) async fn begin(scene: &Scene, heard: &Heard, body: Whole) -> Result<First, Refusal> {
    if let Some(first) = health::answer(scene, heard) {
        return Ok(first);
    }
    let awaited = offer(scene, heard, body)?;
    let phase = &scene.clock;
    phase.set(Phase::Offered(clock::now()));
    let next = std::future::poll_fn(|context| {
        if let Phase::Overdue = phase.get() {
            phase.set(Phase::Busy);
            if awaited.withdraw() {
                return Poll::Ready(Err(Refusal::QueuedTooLong));
            }
        }
        awaited.poll_next(context.waker()).map(Ok)
    })
    .await?;
    phase.set(Phase::Busy);
    match next {
        Next::Lost => Err(Refusal::ChildLost),
        // Broken before any head: the application failed, and its traceback is in the log.
        Next::Part(part) if part.head == 0 => Err(Refusal::ApplicationFailed),
        Next::Part(part) => Ok(First {
            part,
            awaited: Some(awaited),
        }),
    }
}

/// Hands the request over to the children; a body for which there is no memory goes to a file.
fn offer(scene: &Scene, heard: &Heard, body: Whole) -> Result<Awaited, Refusal> {
    let offered = match try_offer(scene, heard, &body) {
        Err(Full::Memory | Full::TooLarge)
            if let Whole::Memory(bytes) = &body
                && !bytes.is_empty() =>
        {
            let body = body::to_file(bytes)?;
            try_offer(scene, heard, &body).map(|awaited| (awaited, body))
        }
        offered => offered.map(|awaited| (awaited, body)),
    };
    let (awaited, body) = offered.map_err(|full| match full {
        Full::Queue | Full::Memory => Refusal::Busy,
        Full::TooLarge => Refusal::HeadTooLarge,
    })?;
    if let Whole::File(file, _) = body {
        awaited.keep(file);
    }
    // Not before: a thread may have asked for the body already, which is heard when answers are read.
    counter::offered();
    Ok(awaited)
}

fn try_offer(scene: &Scene, heard: &Heard, body: &Whole) -> Result<Awaited, Full> {
    let target = heard.target();
    let (server_name, server_port) = server(heard.host(), &scene.peer);
    let offered = Offered {
        method: heard.method(),
        path: target.path,
        query: target.query.unwrap_or_default(),
        http10: heard.is_http10(),
        https: false,
        remote_addr: scene.peer.remote.0.as_bytes(),
        remote_port: scene.peer.remote.1,
        server_name,
        server_port,
        authority: target.authority,
        fields: Lines::new(heard.fields()),
        body: body.place(),
    };
    counter::offer(&offered)
}

/// `SERVER_NAME` and `SERVER_PORT`: what the client believes to talk to (RFC 3875 sections 4.1.14 and 4.1.15).
fn server<'a>(host: &'a [u8], peer: &'a Peer) -> (&'a [u8], u16) {
    let (name, port) = match memchr::memrchr(b':', host) {
        // In `[::1]` the last colon is part of the address.
        Some(colon) if !host.ends_with(b"]") => (&host[..colon], &host[colon + 1..]),
        _ => (host, &[][..]),
    };
    if name.is_empty() {
        return (peer.local.0.as_bytes(), peer.local.1);
    }
    let port = std::str::from_utf8(port)
        .ok()
        .and_then(|port| port.parse().ok());
    (name, port.unwrap_or(80))
}

impl Peer {
    pub(crate) fn tcp(remote: SocketAddr, name: &Rc<str>, port: u16) -> Self {
        Self {
            remote: (remote.ip().to_canonical().to_string(), remote.port()),
            local: (Rc::clone(name), port),
        }
    }

    pub(crate) fn unix() -> Self {
        Self {
            remote: (String::new(), 0),
            local: ("localhost".into(), 80),
        }
    }
}
