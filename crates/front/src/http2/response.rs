//! A response on its way into a stream.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll, ready};

use bytes::Buf;
use http::StatusCode;
use http::header::{CONTENT_LENGTH, DATE, HeaderMap, HeaderName, HeaderValue};
use hyper::body::{Body, Frame};
use tracing::error;

use super::data::Data;
use super::kept::{GIVEN, Kept};
use super::streams::OpenStream;
use crate::access_log::Record;
use crate::context::Context;
use crate::http::response_head::{Unspeakable, check, has_length};
use crate::http::{ErrorResponse, Piece, Response, Rest};

/// The head of a response, and its body as hyper asks for it.
pub(super) fn encode(
    response: Response,
    is_head: bool,
    context: &Rc<Context>,
    mut record: Option<Record>,
    stream: OpenStream,
) -> hyper::Response<ResponseBody> {
    let (response, head) = match head(&response, is_head, context) {
        Ok(head) => (response, head),
        Err(unspeakable) => {
            error!(what = %unspeakable, "the application's head cannot be sent");
            let response = ErrorResponse::ApplicationFailed.response();
            let head = head(&response, is_head, context).expect("its head is ours");
            (response, head)
        }
    };
    if let Some(record) = &mut record {
        record.answered(&response);
    }
    if let (false, Some(record)) = (head.has_body, &mut record) {
        record.complete();
    }
    let (begin, from, rest) = response.into_parts();
    let kept = if head.has_body {
        Kept::new(begin, from, context)
    } else {
        Kept::empty(context)
    };
    let body = ResponseBody {
        kept,
        rest,
        has_ended: !head.has_body,
        left: head.length,
        context: Rc::clone(context),
        stream,
        record,
    };
    let mut encoded = hyper::Response::new(body);
    *encoded.status_mut() = head.status;
    *encoded.headers_mut() = head.fields;
    encoded
}

struct Head {
    status: StatusCode,
    fields: HeaderMap,
    has_body: bool,
    /// Bytes that the body has.
    length: Option<u64>,
}

fn head(response: &Response, is_head: bool, context: &Context) -> Result<Head, Unspeakable> {
    let given = response.head()?;
    let mut fields = HeaderMap::with_capacity(16);
    let mut is_unspeakable = false;
    let said = check(&given, |name, value| {
        let pair = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value));
        match pair {
            (Ok(name), Ok(value)) => drop(fields.append(name, value)),
            _ => is_unspeakable = true,
        }
    })?;
    let status = StatusCode::from_u16(given.status);
    let status = status.map_err(|_| Unspeakable::Status(given.status))?;
    if is_unspeakable {
        return Err(Unspeakable::Field);
    }
    if !said.date {
        let mut date = Vec::new();
        context.date.write(&mut date);
        fields.append(
            DATE,
            HeaderValue::from_bytes(&date).map_err(|_| Unspeakable::Field)?,
        );
    }
    let has_body = !is_head && !matches!(given.status, 204 | 304);
    let length = said.length.or_else(|| response.length());
    // A response to HEAD without a body says nothing about that to GET.
    let tells = has_body || (is_head && length != Some(0) && has_length(given.status));
    if let (None, Some(length), true) = (said.length, length, tells) {
        fields.append(CONTENT_LENGTH, length.into());
    }
    Ok(Head {
        status,
        fields,
        has_body,
        length,
    })
}

/// The body of a response.
pub(super) struct ResponseBody {
    /// What is there.
    kept: Kept,
    rest: Rest,
    has_ended: bool,
    /// Bytes that it may still have, when that is known.
    left: Option<u64>,
    context: Rc<Context>,
    stream: OpenStream,
    record: Option<Record>,
}

impl Body for ResponseBody {
    type Data = Data;
    type Error = Broken;

    /// hyper asks for more when it has the piece before, whether the client has room for it or not.
    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Frame<Data>, Broken>>> {
        let this = &mut *self;
        ready!(this.kept.poll_taken(context));
        this.stream.go_on(this.context.clock.now());
        let given = ready!(this.poll_given(context));
        if let Some(Ok(frame)) = &given {
            let bytes = frame.data_ref().map_or(0, Data::remaining);
            let (patience, now) = (
                this.context.settings.send_patience(),
                this.context.clock.now(),
            );
            this.stream.wait_for_client(bytes, patience, now);
        } else {
            this.has_ended = true;
        }
        Poll::Ready(given)
    }

    fn is_end_stream(&self) -> bool {
        self.has_ended
    }
}

impl ResponseBody {
    fn poll_given(
        &mut self,
        context: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Frame<Data>, Broken>>> {
        while self.kept.is_empty() && !self.has_ended {
            match ready!(self.rest.poll_next(context)) {
                Piece::Bytes(bytes) => self.kept.put(bytes),
                Piece::File(piece) => self.kept.put_file(piece),
                Piece::Broken => return Poll::Ready(Some(Err(Broken::Early))),
                Piece::End => self.has_ended = true,
            }
        }
        if self.kept.is_empty() {
            return Poll::Ready(self.finish());
        }
        let left = self.left.unwrap_or(u64::MAX);
        let most = usize::try_from(left).map_or(GIVEN, |left| left.min(GIVEN));
        if most == 0 {
            return Poll::Ready(Some(Err(Broken::Longer)));
        }
        let given = match ready!(self.kept.poll_give(most, context)) {
            Ok(given) => given,
            Err(error) => return Poll::Ready(Some(Err(Broken::unreadable(&error)))),
        };
        if let Some(left) = &mut self.left {
            *left -= given.remaining() as u64;
        }
        if let Some(record) = &mut self.record {
            record.sent(given.remaining());
        }
        // The last one says that it is.
        let is_last = self.kept.is_empty() && matches!(self.rest, Rest::Nothing);
        if is_last && !matches!(self.left, Some(1..)) {
            self.has_ended = true;
            self.finish();
        }
        Poll::Ready(Some(Ok(Frame::data(given))))
    }

    /// All that there is has been given.
    fn finish(&mut self) -> Option<Result<Frame<Data>, Broken>> {
        if matches!(self.left, Some(1..)) {
            return Some(Err(Broken::Early));
        }
        if let Some(record) = &mut self.record {
            record.complete();
        }
        None
    }
}

/// The body is not what its head says: the stream is reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    Early,
    Longer,
}

impl Broken {
    fn unreadable(error: &io::Error) -> Self {
        error!(%error, "the file of an answer cannot be read");
        Self::Early
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Early => "the body has ended early",
            Self::Longer => "the body is longer than its head says",
        })
    }
}

impl std::error::Error for Broken {}
