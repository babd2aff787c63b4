//! The channel to the supervisor.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use exchange::ChildId;
use exchange::notice::{self, FromFront, ToFront};
use tokio::net::UnixStream;
use tokio::sync::Notify;
use tracing::warn;

use crate::access_log::Log;
use crate::context::Context;
use crate::server::Drain;
use crate::upstream::{Supervisor, Upstream};

/// Our end of the channel: a sequence of whole messages.
#[derive(Debug)]
pub(crate) struct Link {
    ear: UnixStream,
    /// The same socket without the runtime, which would first have to find out that it can be written.
    mouth: StdStream,
    /// What came before a birth that was looked for, and is still to be heard.
    passed_over: RefCell<VecDeque<ToFront>>,
    has_passed_over: Notify,
}

impl Link {
    pub(crate) fn open(link: OwnedFd) -> io::Result<Self> {
        let stream = StdStream::from(link);
        stream.set_nonblocking(true)?;
        Ok(Self {
            mouth: stream.try_clone()?,
            ear: UnixStream::from_std(stream)?,
            passed_over: RefCell::default(),
            has_passed_over: Notify::new(),
        })
    }

    /// The next message; `None` when the supervisor has gone.
    async fn hear(&self) -> io::Result<Option<ToFront>> {
        loop {
            if let Some(message) = self.passed_over.borrow_mut().pop_front() {
                return Ok(Some(message));
            }
            let mut passed_over = pin!(self.has_passed_over.notified());
            poll_fn(|context| match passed_over.as_mut().poll(context) {
                Poll::Ready(()) => Poll::Ready(Ok(())),
                Poll::Pending => self.ear.poll_read_ready(context),
            })
            .await?;
            let mut bytes = [0; notice::LEN];
            match self.ear.try_read(&mut bytes) {
                Ok(0) => return Ok(None),
                Ok(length) => match decode(&bytes[..length]) {
                    // In the order in which they were said.
                    Some(message) => self.passed_over.borrow_mut().push_back(message),
                    None => continue,
                },
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }
}

impl Supervisor for Link {
    fn tell(&self, message: FromFront) {
        // The socket holds hundreds of messages, and the supervisor reads whenever it is awake; without a
        // supervisor there is nobody to tell.
        if let Err(error) = (&self.mouth).write(&message.encode()) {
            warn!(%error, ?message, "the supervisor could not be told");
        }
    }

    fn births(&self) -> Vec<(ChildId, u32)> {
        let mut births = Vec::new();
        let mut bytes = [0; notice::LEN];
        // Its end is heard by who waits for it.
        while let Ok(length @ 1..) = (&self.mouth).read(&mut bytes) {
            match decode(&bytes[..length]) {
                Some(ToFront::Born(child, process)) => births.push((child, process)),
                Some(other) => {
                    self.passed_over.borrow_mut().push_back(other);
                    self.has_passed_over.notify_one();
                }
                None => {}
            }
        }
        births
    }
}

fn decode(bytes: &[u8]) -> Option<ToFront> {
    let message = ToFront::decode(bytes);
    if message.is_none() {
        let length = bytes.len();
        warn!(length, "a message of the supervisor makes no sense");
    }
    message
}

/// Does what the supervisor says, until it has heard that all connections are drained, or is gone.
pub(crate) async fn follow(
    link: &Rc<Link>,
    context: &Context,
    upstream: &Upstream,
    drain: Drain,
) -> io::Result<()> {
    link.tell(FromFront::Serving);
    let mut drain = Some(drain);
    while let Some(message) = link.hear().await? {
        match message {
            ToFront::Born(child, process) => upstream.born(child, process),
            ToFront::Gone(child) => {
                upstream.gone(child);
                link.tell(FromFront::Cleared(child));
            }
            ToFront::Reopen => context.log.iter().for_each(Log::reopen),
            ToFront::Close => drain.iter().for_each(Drain::close_connections),
            ToFront::Drain => {
                if let Some(drain) = drain.take() {
                    let link = Rc::clone(link);
                    tokio::task::spawn_local(async move {
                        drain.run().await;
                        link.tell(FromFront::Drained);
                    });
                }
            }
        }
    }
    Ok(())
}
