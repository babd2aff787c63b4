//! The body of a request, read to its end before a thread is taken.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Instant;

use hyper::body::{Body as _, Bytes, Incoming};
use tokio::time::timeout;

use crate::config::Settings;
use crate::http::parse::Expects;
use crate::http::{Body, ErrorResponse, RequestHead, Spool};
use crate::timing::body_pause;

/// Reads the body behind this head. An error says that its end is not read either.
pub(super) async fn read(
    mut incoming: Incoming,
    head: &RequestHead,
    settings: &Settings,
) -> Result<Body, ErrorResponse> {
    if head.expects() == Expects::Other {
        return Err(ErrorResponse::UnknownExpectation);
    }
    if incoming.size_hint().lower() > settings.limit_request_body {
        return Err(ErrorResponse::BodyTooLarge);
    }
    let (mut spool, began) = (Spool::default(), Instant::now());
    while !incoming.is_end_stream() {
        let pause =
            body_pause(settings, began, spool.length()).ok_or(ErrorResponse::BodyTooSlow)?;
        match timeout(pause, next(&mut incoming)).await {
            Err(_) => return Err(ErrorResponse::BodyTooSlow),
            Ok(Some(Err(_))) => return Err(ErrorResponse::BodyBroken),
            Ok(None) => break,
            Ok(Some(Ok(data))) => spool.push(&data)?,
        }
        if spool.length() > settings.limit_request_body {
            return Err(ErrorResponse::BodyTooLarge);
        }
    }
    Ok(spool.finish()?)
}

/// The data that comes next; none for trailers, which nobody reads.
async fn next(incoming: &mut Incoming) -> Option<hyper::Result<Bytes>> {
    let frame = poll_fn(|context| Pin::new(&mut *incoming).poll_frame(context)).await?;
    Some(frame.map(|frame| frame.into_data().unwrap_or_default()))
}
