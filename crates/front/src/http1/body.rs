//! Reads the body of a request completely before a thread is assigned.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::IoSlice;
use std::time::Instant;

use tokio::time::timeout;

use super::io::Http1Io;
use crate::context::Context;
use crate::http::parse::Expects;
use crate::http::{Body, ErrorResponse, IN_MEMORY, RequestHead, Spool};
use crate::net::Stream;
use crate::timing::body_pause;

/// Reads the body that follows this head. After an error the end of the body is unknown.
pub(super) async fn read<S: Stream>(
    io: &RefCell<Http1Io<S>>,
    head: &RequestHead,
    context: &Context,
) -> Result<Body, ErrorResponse> {
    if head.expects() == Expects::Other {
        return Err(ErrorResponse::UnknownExpectation);
    }
    let left = io.borrow().body_left();
    match left {
        Some(0) => return Ok(Body::Empty),
        Some(length) if length > context.settings.limit_request_body => {
            return Err(ErrorResponse::BodyTooLarge);
        }
        _ => {}
    }
    if head.expects() == Expects::Continue {
        send_continue(io).await?;
    }
    match left.and_then(|length| usize::try_from(length).ok()) {
        Some(length) if length <= IN_MEMORY => read_length(io, length, context).await,
        _ => {
            let spool = Spool::new(context.memory.share());
            read_any(io, spool, Instant::now(), context).await
        }
    }
}

/// Sends `100 Continue` (RFC 9110 section 10.1.1).
async fn send_continue<S: Stream>(io: &RefCell<Http1Io<S>>) -> Result<(), ErrorResponse> {
    let mut slices = [IoSlice::new(b"HTTP/1.1 100 Continue\r\n\r\n")];
    let mut slices = &mut slices[..];
    poll_fn(|task| io.borrow_mut().poll_write_all(task, &mut slices))
        .await
        // The client has closed the connection.
        .map_err(|_| ErrorResponse::BodyBroken)
}

/// Reads a body of this length, which needs no decoding, directly into its buffer while memory is available.
async fn read_length<S: Stream>(
    io: &RefCell<Http1Io<S>>,
    length: usize,
    context: &Context,
) -> Result<Body, ErrorResponse> {
    let mut share = context.memory.share();
    let mut body = Vec::with_capacity(length.min(share.limit()));
    let began = Instant::now();
    while body.len() < length {
        let limit = share.limit().min(length);
        if body.len() >= limit {
            let spool = Spool::begun(body, share);
            return read_any(io, spool, began, context).await;
        }
        let pause = body_pause(&context.settings, began, body.len() as u64)
            .ok_or(ErrorResponse::BodyTooSlow)?;
        let more = poll_fn(|task| io.borrow_mut().poll_body_of(task, &mut body, limit));
        match timeout(pause, more).await {
            Err(_) => return Err(ErrorResponse::BodyTooSlow),
            Ok(Err(_)) => return Err(ErrorResponse::BodyBroken),
            Ok(Ok(())) => share.hold(body.len()),
        };
    }
    Ok(Body::Memory(body, share))
}

/// Reads the rest of a body of any framing and length; `spool` holds the part received since `began`.
async fn read_any<S: Stream>(
    io: &RefCell<Http1Io<S>>,
    mut spool: Spool,
    began: Instant,
    context: &Context,
) -> Result<Body, ErrorResponse> {
    let mut data = Vec::new();
    while io.borrow().in_body() {
        if spool.is_to_be_stored(data.len()) {
            spool.push(&mut data, &context.disk).await?;
        }
        let so_far = spool.length() + data.len() as u64;
        let pause =
            body_pause(&context.settings, began, so_far).ok_or(ErrorResponse::BodyTooSlow)?;
        let more = poll_fn(|task| io.borrow_mut().poll_body(task, &mut data));
        match timeout(pause, more).await {
            Err(_) => return Err(ErrorResponse::BodyTooSlow),
            Ok(Err(_)) => return Err(ErrorResponse::BodyBroken),
            Ok(Ok(())) => {}
        }
        if spool.length() + data.len() as u64 > context.settings.limit_request_body {
            return Err(ErrorResponse::BodyTooLarge);
        }
    }
    spool.push(&mut data, &context.disk).await?;
    Ok(spool.finish())
}
