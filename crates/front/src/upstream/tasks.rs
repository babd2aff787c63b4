//! What goes on beside the connections as long as the front lives.

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

/// How long a request can wait for a wake-up that a child which was taken over has overwritten.
const LOOK_OVER: Duration = Duration::from_secs(1);

/// Takes the exchange over, and starts what looks after it. `children` are those that take requests already, with the numbers
/// of their processes.
///
/// # Errors
/// In a process that is not the front, or has too many descriptors.
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
    spawn_local(hear_doorbell(doorbell));
    spawn_local(serve_fd_channel(fd_channel, Rc::clone(&upstream)));
    spawn_local(look_after(Rc::clone(&upstream)));
    spawn_local(write_overflows(Rc::clone(&upstream)));
    Ok(upstream)
}

/// Children ring when the front sleeps; being woken is all that it is for, since responses are read before the next sleep.
async fn hear_doorbell(mut doorbell: Receiver) {
    // A read that does not fill its buffer tells tokio that the pipe is empty; `try_read` would be called once more for that.
    while doorbell
        .read(&mut [0; 64])
        .await
        .is_ok_and(|rings| rings > 0)
    {}
}

/// Looks the exchange over every now and then, and takes back what waits for too long, as long as there are requests.
async fn look_after(upstream: Rc<Upstream>) {
    // A request that is offered meanwhile waits for at least as long.
    let longest = LOOK_OVER.min(upstream.context.settings.queue_timeout);
    loop {
        upstream.has_requests.notified().await;
        let mut looked = Instant::now();
        while upstream.is_looked_after.get() {
            let next = upstream.expire();
            let until_next = next.map_or(longest, |next| next - Instant::now());
            sleep(until_next.min(longest)).await;
            if looked.elapsed() >= LOOK_OVER {
                looked = Instant::now();
                upstream.look_over();
            }
            upstream.is_looked_after.set(upstream.is_busy());
        }
    }
}

/// Has what does not fit in memory written into files, those of several responses side by side.
async fn write_overflows(upstream: Rc<Upstream>) {
    loop {
        upstream.overflow.notified().await;
        for buffer in upstream.overflowing() {
            let upstream = Rc::clone(&upstream);
            spawn_local(async move { upstream.write(&buffer).await });
        }
    }
}

/// Looks after the messages that threads send with descriptors: those that ask for a body wait for it.
async fn serve_fd_channel(fd_channel: UnixStream, upstream: Rc<Upstream>) {
    while fd_channel.readable().await.is_ok() {
        let cleared = fd_channel.try_io(Interest::READABLE, || upstream.read_fd_channel());
        match cleared {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => error!(%error, "a message of a thread cannot be read"),
            // Connections go on in between.
            Ok(()) => tokio::task::yield_now().await,
        }
    }
}
