//! The life of one connection: its streams are served side by side, and we watch the clock.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, ready};

use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep};
use tracing::debug;

use super::body;
use super::kept::GIVEN;
use super::preface::PREFACE;
use super::request;
use super::response::{ResponseBody, encode};
use super::streams::Streams;
use crate::access_log::Record;
use crate::context::Context;
use crate::handler::Handler;
use crate::http::{ErrorResponse, Peer, Request};
use crate::net::{Prefixed, Stream};
use crate::timing::{Verdict, poll_deadline};

/// Requests that a client may have open at once on a connection, as nginx and Apache have it; more wait with the client.
const MOST_STREAMS: u32 = 100;
/// Bytes that a client may send on all streams before they have been read.
const CONNECTION_WINDOW: u32 = 256 * 1024;

/// What the streams of a connection share.
struct Shared<H> {
    context: Rc<Context>,
    handler: Rc<H>,
    peer: Rc<Peer>,
    streams: Rc<Streams>,
}

/// Runs what hyper has to do beside the connection.
struct Turns<H>(Rc<H>);

impl<H> Clone for Turns<H> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<H, F> Executor<F> for Turns<H>
where
    H: Handler + 'static,
    F: Future + 'static,
{
    fn execute(&self, work: F) {
        let handler = Rc::clone(&self.0);
        spawn_local(async move {
            let mut work = pin!(work);
            poll_fn(|task| {
                handler.step();
                work.as_mut().poll(task).map(drop)
            })
            .await;
        });
    }
}

/// Speaks HTTP/2, of which the preface has been read, until either side has had enough.
pub(crate) async fn serve<S, H>(stream: S, peer: Peer, context: &Rc<Context>, handler: &Rc<H>)
where
    S: Stream + 'static,
    H: Handler + 'static,
{
    let now = context.clock.now();
    let shared = Rc::new(Shared {
        context: Rc::clone(context),
        handler: Rc::clone(handler),
        peer: Rc::new(peer),
        streams: Rc::new(Streams::new(now)),
    });
    let streams = Rc::clone(&shared.streams);
    let service = service_fn(move |request| {
        let shared = Rc::clone(&shared);
        async move { Ok::<_, Infallible>(answer(&shared, request).await) }
    });
    let stream = TokioIo::new(Prefixed::new(PREFACE, stream));
    let mut builder = http2::Builder::new(Turns(Rc::clone(handler)));
    builder
        .timer(TokioTimer::new())
        .auto_date_header(false)
        .max_concurrent_streams(MOST_STREAMS)
        .initial_stream_window_size(body::WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(GIVEN)
        .max_header_list_size(u32::try_from(context.limits.head).unwrap_or(u32::MAX));
    let mut connection = pin!(builder.serve_connection(stream, service));
    let mut draining = context.draining.clone();
    let mut asked_to_drain = pin!(draining.wait_for(|draining| *draining));
    let mut timer = pin!(sleep(context.settings.header_timeout));
    let mut end = End::default();
    poll_fn(|task| {
        if end.drain_since.is_none() && asked_to_drain.as_mut().poll(task).is_ready() {
            end.drain_since = Some(context.clock.now());
        }
        loop {
            if end.is_to_be_announced(&streams, context) {
                connection.as_mut().graceful_shutdown();
            }
            if let Poll::Ready(ended) = connection.as_mut().poll(task) {
                if let Err(error) = ended {
                    debug!(%error, "the connection has failed");
                }
                return Poll::Ready(());
            }
            match end.verdict(&streams, context) {
                Verdict::Gone => return Poll::Ready(()),
                // To be announced first.
                Verdict::Enough | Verdict::TooSlow => {}
                Verdict::Until(None) => return Poll::Pending,
                Verdict::Until(Some(deadline)) => {
                    ready!(poll_deadline(timer.as_mut(), deadline, task))
                }
            }
        }
    })
    .await;
}

/// What is known of the end of a connection.
#[derive(Debug, Default)]
struct End {
    /// Since when no further request is wanted.
    drain_since: Option<Instant>,
    /// Until when the client may take what it has not taken, once nothing more is waited for.
    by: Option<Instant>,
    /// The client has been told (GOAWAY, RFC 9113 section 6.8).
    is_announced: bool,
}

impl End {
    /// Whether the client is to be told now that no further request is taken.
    fn is_to_be_announced(&mut self, streams: &Streams, context: &Context) -> bool {
        let is_last = self.by.is_some()
            || self.drain_since.is_some()
            || context.closing.get()
            || (context.settings.keep_alive.is_zero() && streams.has_opened());
        is_last && !std::mem::replace(&mut self.is_announced, true)
    }

    /// What is to become of the connection.
    fn verdict(&mut self, streams: &Streams, context: &Context) -> Verdict {
        let (settings, now) = (&context.settings, context.clock.now());
        match streams.verdict(self.drain_since, settings, now) {
            Verdict::Enough | Verdict::TooSlow => match self.by {
                Some(by) if by <= now => Verdict::Gone,
                Some(by) => Verdict::Until(Some(by)),
                None => {
                    self.by = Some(now + settings.send_timeout);
                    Verdict::Enough
                }
            },
            verdict => verdict,
        }
    }
}

/// Serves the request of a stream.
async fn answer<H: Handler>(
    shared: &Shared<H>,
    request: hyper::Request<Incoming>,
) -> hyper::Response<ResponseBody> {
    let Shared {
        context, handler, ..
    } = shared;
    let stream = shared.streams.open(context.clock.now());
    let (parts, incoming) = request.into_parts();
    let head = match request::head(&parts, context.limits) {
        Ok(head) => head,
        Err(fault) => {
            let error = ErrorResponse::from(fault);
            let (log, line) = (context.log.as_ref(), request::request_line(&parts));
            Record::unread(log, &shared.peer, &line, error.status(), error.text().len());
            return encode(error.response(), false, context, None, stream);
        }
    };
    drop(parts);
    let record = Record::begin(context.log.as_ref(), &shared.peer, &head);
    let is_head = head.is_head();
    let response = match body::read(incoming, &head, context).await {
        Ok(body) => {
            let peer = Rc::clone(&shared.peer);
            handler.handle(Request { head, body, peer }).await
        }
        Err(error) => error.response(),
    };
    encode(response, is_head, context, record, stream)
}
