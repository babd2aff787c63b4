//! The tasks of an upstream that run as long as the front.

use std::io;
use std::os::unix::net::UnixStream as StdStream;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use exchange::{ChildId, Exchange};
use tokio::io::{AsyncReadExt, Interest};
use tokio::net::UnixStream;
use tokio::net::unix::pipe::Receiver;
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep};
use tracing::error;

use super::requests::Upstream;
use super::waiting::Supervisor;
use crate::context::Context;

/// How long a request can wait when a corrupt child has overwritten its wake-up.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Takes over the exchange, and starts the tasks. `children` are the children that already accept requests, with
/// their process ids.
///
/// # Errors
/// In a process that is not the front, or when there are too many descriptors.
pub(crate) fn open(
    exchange: Arc<Exchange>,
    context: Rc<Context>,
    supervisor: Rc<dyn Supervisor>,
    children: &[(ChildId, u32)],
) -> io::Result<Rc<Upstream>> {
    let doorbell = Receiver::from_owned_fd(exchange.doorbell()?)?;
    let fd_channel = UnixStream::from_std(StdStream::from(exchange.fd_channel()?))?;
    let upstream = Rc::new(Upstream::new(exchange, context, supervisor));
    for (child, process) in children {
        upstream.born(*child, *process);
    }
    spawn_local(drain_doorbell(doorbell));
    spawn_local(serve_fd_channel(fd_channel, Rc::clone(&upstream)));
    spawn_local(watch_requests(Rc::clone(&upstream)));
    spawn_local(write_overflows(Rc::clone(&upstream)));
    Ok(upstream)
}

/// Children write to this pipe when the front sleeps. Waking the runtime is its only purpose: responses are read
/// before the next sleep.
async fn drain_doorbell(mut doorbell: Receiver) {
    // A read that does not fill its buffer tells tokio that the pipe is empty; `try_read` would need a further call
    // for that.
    while doorbell
        .read(&mut [0; 64])
        .await
        .is_ok_and(|rings| rings > 0)
    {}
}

/// Checks the exchange regularly and withdraws requests that have waited too long, while there are requests.
async fn watch_requests(upstream: Rc<Upstream>) {
    // A request that is offered meanwhile has at least this much time.
    let longest = CHECK_INTERVAL.min(upstream.context.settings.queue_timeout);
    loop {
        upstream.has_requests.notified().await;
        let mut looked = Instant::now();
        while upstream.is_watched.get() {
            let next = upstream.expire();
            let until_next = next.map_or(longest, |next| next - Instant::now());
            sleep(until_next.min(longest)).await;
            if looked.elapsed() >= CHECK_INTERVAL {
                looked = Instant::now();
                upstream.recheck();
            }
            upstream.is_watched.set(upstream.is_busy());
        }
    }
}

/// Writes the overflow of responses into files, several responses concurrently.
async fn write_overflows(upstream: Rc<Upstream>) {
    loop {
        upstream.overflow.notified().await;
        for buffer in upstream.overflowing() {
            let upstream = Rc::clone(&upstream);
            spawn_local(async move { upstream.write(&buffer).await });
        }
    }
}

/// Handles the messages of threads on the descriptor channel, without delay: threads wait for the bodies that they
/// ask for.
async fn serve_fd_channel(fd_channel: UnixStream, upstream: Rc<Upstream>) {
    while fd_channel.readable().await.is_ok() {
        let cleared = fd_channel.try_io(Interest::READABLE, || upstream.read_fd_channel());
        match cleared {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => error!(%error, "a message of a thread cannot be read"),
            // Other tasks run in between.
            Ok(()) => tokio::task::yield_now().await,
        }
    }
}
