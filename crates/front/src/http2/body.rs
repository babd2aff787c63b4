//! The body of a request, read to its end before a thread is taken.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Instant;

use hyper::body::{Body as _, Bytes, Incoming};
use tokio::time::timeout;

use crate::context::Context;
use crate::http::parse::Expects;
use crate::http::{Body, ErrorResponse, RequestHead, Spool};
use crate::timing::body_pause;

/// Bytes that a client may send on a stream before they have been read.
pub(super) const WINDOW: u32 = 64 * 1024;

/// Reads the body behind this head. An error says that its end is not read either.
pub(super) async fn read(
    mut incoming: Incoming,
    head: &RequestHead,
    context: &Context,
) -> Result<Body, ErrorResponse> {
    let (settings, disk) = (&context.settings, &context.disk);
    if head.expects() == Expects::Other {
        return Err(ErrorResponse::UnknownExpectation);
    }
    if incoming.size_hint().lower() > settings.limit_request_body {
        return Err(ErrorResponse::BodyTooLarge);
    }
    let mut spool = Spool::new(context.memory.share());
    let mut unread = context.memory.share();
    let (mut data, began) = (Vec::new(), Instant::now());
    while !incoming.is_end_stream() {
        let so_far = spool.length() + data.len() as u64;
        let pause = body_pause(settings, began, so_far).ok_or(ErrorResponse::BodyTooSlow)?;
        match timeout(pause, next(&mut incoming)).await {
            Err(_) => return Err(ErrorResponse::BodyTooSlow),
            Ok(Some(Err(_))) => return Err(ErrorResponse::BodyBroken),
            Ok(None) => break,
            Ok(Some(Ok(more))) => data.extend_from_slice(&more),
        }
        if spool.length() + data.len() as u64 > settings.limit_request_body {
            return Err(ErrorResponse::BodyTooLarge);
        }
        if spool.is_to_be_stored(data.len()) {
            // What the client sends meanwhile is with hyper.
            unread.hold(WINDOW as usize);
            spool.push(&mut data, disk).await?;
            unread.hold(0);
        }
    }
    spool.push(&mut data, disk).await?;
    Ok(spool.finish())
}

/// The data that comes next; none for trailers, which nobody reads.
async fn next(incoming: &mut Incoming) -> Option<hyper::Result<Bytes>> {
    let frame = poll_fn(|context| Pin::new(&mut *incoming).poll_frame(context)).await?;
    Some(frame.map(|frame| frame.into_data().unwrap_or_default()))
}
