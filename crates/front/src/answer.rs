//! The answer's way back: parts from the exchange, or a file, become a response that hyper sends as it can.

use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use exchange::{After, Head, Part};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use hyper::ext::ReasonPhrase;
use tracing::error;

use crate::access::Record;
use crate::clock;
use crate::connection::Phase;
use crate::counter::{Awaited, Next};
use crate::file::FileRest;
use crate::refuse::Refusal;
use crate::request::{First, Scene};

/// Makes a response of its first part.
pub(crate) fn response(first: First, scene: &Rc<Scene>) -> Result<Response<Body>, Refusal> {
    let First { part, awaited } = first;
    let Part { bytes, head, after } = part;
    let bytes = Bytes::from(bytes);
    let mut response = head_of(&bytes[..head])?;
    *response.body_mut() = Body {
        data: (bytes.len() > head).then(|| bytes.slice(head..)),
        rest: match after {
            After::Complete => Rest::Nothing,
            After::Broken => Rest::Broken,
            After::More => awaited.map_or(Rest::Broken, Rest::Awaited),
            After::File => awaited.map_or(Rest::Broken, |awaited| Rest::of_file(&awaited, scene)),
        },
        unsent: true,
        scene: Some(Rc::clone(scene)),
        record: None,
    };
    Ok(response)
}

fn head_of(bytes: &[u8]) -> Result<Response<Body>, Refusal> {
    let unspeakable = |what: &dyn fmt::Display| {
        error!(%what, "the application's head cannot be sent");
        Refusal::ApplicationFailed
    };
    let head = Head::decode(bytes).map_err(|error| unspeakable(&error))?;
    let status = StatusCode::from_u16(head.status).map_err(|error| unspeakable(&error))?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    if status
        .canonical_reason()
        .is_none_or(|usual| usual.as_bytes() != head.reason)
    {
        let reason = ReasonPhrase::try_from(head.reason).map_err(|error| unspeakable(&error))?;
        response.extensions_mut().insert(reason);
    }
    for (name, value) in head.headers.iter() {
        let name = HeaderName::from_bytes(name).map_err(|error| unspeakable(&error))?;
        let value = HeaderValue::from_bytes(value).map_err(|error| unspeakable(&error))?;
        response.headers_mut().append(name, value);
    }
    Ok(response)
}

/// The body of a response.
#[derive(Debug)]
pub(crate) struct Body {
    data: Option<Bytes>,
    rest: Rest,
    /// The head, or data, may still be in hyper's hands.
    unsent: bool,
    /// Whose clock turns to idle when the answer is out.
    scene: Option<Rc<Scene>>,
    record: Option<Record>,
}

#[derive(Debug)]
enum Rest {
    Nothing,
    Broken,
    Awaited(Awaited),
    File(FileRest),
}

impl Rest {
    fn of_file(awaited: &Awaited, scene: &Scene) -> Self {
        let open = |extent| FileRest::open(extent, scene.holes.clone());
        match awaited.extent().map(open) {
            Some(Ok(file)) => Self::File(file),
            Some(Err(error)) => {
                error!(%error, "the file of an answer cannot be read");
                Self::Broken
            }
            None => Self::Broken,
        }
    }
}

/// The application, or its child, did not finish the answer: hyper breaks the connection off, so that what the client
/// has does not look complete.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BrokenOff;

impl fmt::Display for BrokenOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the answer was broken off")
    }
}

impl std::error::Error for BrokenOff {}

impl Body {
    pub(crate) fn empty() -> Self {
        Self {
            data: None,
            rest: Rest::Nothing,
            unsent: false,
            scene: None,
            record: None,
        }
    }

    pub(crate) fn whole(data: Bytes) -> Self {
        let mut body = Self::empty();
        body.data = Some(data);
        body
    }

    /// Tells `record` how the answer ends.
    pub(crate) fn keep(&mut self, record: Record) {
        self.record = Some(record);
    }

    /// Lets the clock turn to idle when the response is out.
    pub(crate) fn timed(mut self, scene: Rc<Scene>) -> Self {
        self.scene = Some(scene);
        self
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let body = self.get_mut();
        loop {
            if let Some(data) = body.data.take() {
                body.unsent = true;
                if let Some(record) = &mut body.record {
                    record.sent(data.len());
                }
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
            let awaited = match &mut body.rest {
                Rest::Nothing => return Poll::Ready(None),
                Rest::Broken if body.unsent => {
                    // hyper throws away what it has not yet sent when a body fails, and the head with it: before it
                    // hears of the failure, it gets the turn in which it sends.
                    body.unsent = false;
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Rest::Broken => return Poll::Ready(Some(Err(BrokenOff))),
                Rest::File(file) => {
                    match std::task::ready!(file.poll_next(context)) {
                        Ok(Some(data)) => body.data = Some(data),
                        Ok(None) => body.rest = Rest::Nothing,
                        Err(error) => {
                            error!(%error, "the file of an answer cannot be read");
                            body.rest = Rest::Broken;
                        }
                    }
                    continue;
                }
                Rest::Awaited(awaited) => awaited,
            };
            match std::task::ready!(awaited.poll_next(context.waker())) {
                Next::Lost => body.rest = Rest::Broken,
                Next::Part(part) => {
                    match part.after {
                        After::More => {}
                        After::Complete => body.rest = Rest::Nothing,
                        After::Broken => body.rest = Rest::Broken,
                        After::File => {
                            body.rest = match &body.scene {
                                Some(scene) => Rest::of_file(awaited, scene),
                                None => Rest::Broken,
                            };
                        }
                    }
                    body.data = (!part.bytes.is_empty()).then(|| part.bytes.into());
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_none() && matches!(self.rest, Rest::Nothing)
    }

    fn size_hint(&self) -> SizeHint {
        let here = self.data.as_ref().map_or(0, |data| data.len() as u64);
        match &self.rest {
            Rest::Nothing => SizeHint::with_exact(here),
            Rest::File(file) => SizeHint::with_exact(here + file.left()),
            Rest::Broken | Rest::Awaited(_) => SizeHint::default(),
        }
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        let whole = self.is_end_stream();
        if let Some(record) = &mut self.record
            && (whole || record.is_head())
        {
            record.complete();
        }
        if let Some(scene) = self.scene.take() {
            scene.clock.set(Phase::Idle(clock::now()));
        }
    }
}
