//! The life of one connection: it serves requests one after the other, within time limits.
//!
//! Different time limits apply in different phases (idle, reading a head, sending), so each connection has a single
//! timer, which is set again only after it has expired: a request costs no timer operation.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, ready};
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tracing::debug;

use super::body;
use super::encode::{Form, Framing, RequestTraits, UNREAD};
use super::io::Http1Io;
use super::send::{Sent, send};
use crate::access_log::Record;
use crate::context::Context;
use crate::handler::Handler;
use crate::http::parse::Fault;
use crate::http::{ErrorResponse, Peer, Request, RequestHead};
use crate::net::Stream;
use crate::timing::{Phase, Verdict, poll_deadline};

/// How long further input is read and discarded after the last response, so that the client can read the response.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// State shared by a connection and its requests.
struct Connection<'c, S: Stream, H> {
    io: RefCell<Http1Io<S>>,
    peer: Rc<Peer>,
    context: &'c Rc<Context>,
    handler: &'c H,
    /// The end of the connection marks the end of the response.
    ends_by_close: Cell<bool>,
}

/// Why a conversation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// Regularly: either side has closed, or is to close.
    ByItself,
    /// In the middle of a response.
    Early,
    /// The client closed in the middle of a head.
    Left,
    /// The client sent something that is not served.
    Fault(Fault),
    /// A head was not received in time.
    TooSlow,
    /// The client no longer reads.
    Gone,
}

/// Serves HTTP/1 until either side closes. `begun` holds bytes of the first request that have already been read.
pub(crate) async fn serve<S: Stream, H: Handler>(
    stream: S,
    begun: Vec<u8>,
    peer: Peer,
    context: &Rc<Context>,
    handler: &H,
) {
    let mut connection = Connection {
        io: RefCell::new(Http1Io::new(stream, begun, Rc::clone(context))),
        peer: Rc::new(peer),
        context,
        handler,
        ends_by_close: Cell::new(false),
    };
    let cut_off = CutOff(&connection);
    let ended = connection.watch().await;
    std::mem::forget(cut_off);
    connection.end(ended).await;
}

/// Dropped with a connection that is cut off by the server's shutdown.
struct CutOff<'a, 'c, S: Stream, H>(&'a Connection<'c, S, H>);

impl<S: Stream, H> Drop for CutOff<'_, '_, S, H> {
    fn drop(&mut self) {
        self.0.note_cut_off();
        if self.0.ends_by_close.get() {
            self.0.io.borrow().fail();
        }
    }
}

impl<S: Stream, H> Connection<'_, S, H> {
    /// Logs a request of which only a part was received when the server shut down.
    fn note_cut_off(&self) {
        let io = self.io.borrow();
        if !io.request_line().is_empty() {
            let status = ErrorResponse::Busy.status();
            Record::unread(
                self.context.log.as_ref(),
                &self.peer,
                io.request_line(),
                status,
                0,
            );
        }
    }

    /// Ends the connection.
    async fn end(&mut self, ended: Ended) {
        let error = match ended {
            Ended::Gone | Ended::Early if self.ends_by_close.get() => {
                return self.io.borrow().fail();
            }
            Ended::Gone => return,
            Ended::ByItself | Ended::Early | Ended::Left => None,
            Ended::Fault(fault) => Some(ErrorResponse::from(fault)),
            // A client that has sent nothing gets no 408.
            Ended::TooSlow => {
                let has_begun = self.io.borrow().has_begun();
                has_begun.then_some(ErrorResponse::HeadTooSlow)
            }
        };
        let unread = match (ended, error) {
            (_, Some(error)) => Some((error.status(), error.text().len())),
            (Ended::Left, None) => Some((ErrorResponse::Malformed.status(), 0)),
            _ => None,
        };
        if let Some((status, sent)) = unread {
            let io = self.io.borrow();
            Record::unread(
                self.context.log.as_ref(),
                &self.peer,
                io.request_line(),
                status,
                sent,
            );
        } else if self.context.is_draining() {
            self.note_cut_off();
        }
        // The client is slow or has closed: whether it reads its last response does not matter.
        let _ = timeout(CLOSE_TIMEOUT, self.close(error)).await;
    }

    /// Sends the error response, if there is one, and closes so that the client can still read it (RFC 9112 section
    /// 9.6).
    async fn close(&mut self, error: Option<ErrorResponse>) {
        let has_rest = self.io.borrow().has_rest();
        if let Some(error) = error {
            let response = error.response();
            match send(&self.io, self.context, response, UNREAD, |_| {}, &mut None).await {
                Sent::Whole(_) => {}
                _ => return,
            }
        }
        let io = self.io.get_mut();
        if io.shut_down().await.is_ok() && has_rest {
            io.discard().await;
        }
    }
}

impl<S: Stream, H: Handler> Connection<'_, S, H> {
    /// Serves one request after the other.
    async fn converse(&self) -> Ended {
        loop {
            let head = match poll_fn(|context| self.io.borrow_mut().poll_head(context)).await {
                Ok(head) => head,
                Err(None) if self.io.borrow().request_line().is_empty() => return Ended::ByItself,
                Err(None) => return Ended::Left,
                Err(Some(fault)) => return Ended::Fault(fault),
            };
            self.io.borrow_mut().phase = Phase::Busy;
            // Boxed because a request's future is large, and an idle connection should use little memory.
            match Box::pin(self.answer(head)).await {
                Sent::Whole(form) => {
                    self.io.borrow_mut().phase = Phase::Idle(self.context.clock.now());
                    if !form.persists {
                        return Ended::ByItself;
                    }
                }
                Sent::Broken => return Ended::Early,
                Sent::ClientGone => return Ended::Gone,
            }
        }
    }

    /// Serves the request with this head.
    async fn answer(&self, head: RequestHead) -> Sent {
        let mut record = Record::begin(self.context.log.as_ref(), &self.peer, &head);
        let mut traits = RequestTraits {
            is_http10: head.is_http10(),
            is_head: head.is_head(),
            persists: head.persists(),
        };
        let body = body::read(&self.io, &head, self.context).await;
        let response = match body {
            Ok(body) => {
                let peer = Rc::clone(&self.peer);
                self.handler.handle(Request { head, body, peer }).await
            }
            Err(error) => {
                // The start of the next request is unknown.
                traits.persists = false;
                error.response()
            }
        };
        if self.context.closing.get() || self.context.settings.keep_alive.is_zero() {
            traits.persists = false;
        }
        let begun = |form: Form| self.ends_by_close.set(form.framing == Framing::Close);
        send(&self.io, self.context, response, traits, begun, &mut record).await
    }

    /// Runs the conversation, and checks its time limits and whether the server drains.
    async fn watch(&self) -> Ended {
        let context = self.context;
        // Pinned here: passed as an argument, it would be stored twice in the future.
        let mut conversation = pin!(self.converse());
        let mut draining = context.draining.clone();
        let mut asked_to_drain = pin!(draining.wait_for(|draining| *draining));
        let (mut drain_since, mut is_asked) = (None, false);
        let mut timer = pin!(sleep(context.settings.header_timeout));
        poll_fn(|task| {
            // Once polled, it wakes this task when the value changes.
            let has_news = !std::mem::replace(&mut is_asked, true)
                || context.draining.has_changed().unwrap_or(true);
            if has_news && drain_since.is_none() && asked_to_drain.as_mut().poll(task).is_ready() {
                drain_since = Some(context.clock.now());
            }
            loop {
                if let Poll::Ready(ended) = conversation.as_mut().poll(task) {
                    return Poll::Ready(ended);
                }
                let mut io = self.io.borrow_mut();
                if io.phase == Phase::Busy
                    && let Err(error) = io.look_ahead(task)
                {
                    debug!(%error, "the client has gone");
                    return Poll::Ready(Ended::Gone);
                }
                let (reader, now) = (io.slow_reader(), context.clock.now());
                let verdict = Verdict::of(io.phase, reader, drain_since, &context.settings, now);
                match verdict {
                    Verdict::TooSlow => return Poll::Ready(Ended::TooSlow),
                    Verdict::Gone => return Poll::Ready(Ended::Gone),
                    Verdict::Enough if drain_since.is_none() && io.is_still_taken() => {}
                    Verdict::Enough => return Poll::Ready(Ended::ByItself),
                    Verdict::Until(None) => return Poll::Pending,
                    Verdict::Until(Some(deadline)) => {
                        ready!(poll_deadline(timer.as_mut(), deadline, task))
                    }
                }
            }
        })
        .await
    }
}
