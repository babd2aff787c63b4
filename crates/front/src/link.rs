//! The channel to the supervisor.

use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;

use exchange::notice::{self, FromFront, ToFront};
use tokio::net::UnixStream;
use tracing::warn;

use crate::accept::Drain;
use crate::{access, counter};

/// Our end of the channel: a sequence of whole messages.
#[derive(Debug)]
pub(crate) struct Link {
    ear: UnixStream,
    /// The same socket without the runtime, which would first have to find out that it can be written.
    mouth: StdStream,
}

impl Link {
    pub(crate) fn open(link: OwnedFd) -> io::Result<Self> {
        let stream = StdStream::from(link);
        stream.set_nonblocking(true)?;
        Ok(Self {
            mouth: stream.try_clone()?,
            ear: UnixStream::from_std(stream)?,
        })
    }

    /// Tells the supervisor.
    pub(crate) fn tell(&self, message: FromFront) {
        // The socket holds hundreds of messages, and the supervisor reads whenever it is awake; without a
        // supervisor there is nobody to tell.
        if let Err(error) = (&self.mouth).write(&message.encode()) {
            warn!(%error, ?message, "the supervisor could not be told");
        }
    }

    /// The next message; `None` when the supervisor has gone.
    async fn hear(&self) -> io::Result<Option<ToFront>> {
        loop {
            self.ear.readable().await?;
            let mut bytes = [0; notice::LEN];
            match self.ear.try_read(&mut bytes) {
                Ok(0) => return Ok(None),
                Ok(length) => match ToFront::decode(&bytes[..length]) {
                    Some(message) => return Ok(Some(message)),
                    None => warn!(length, "a message of the supervisor makes no sense"),
                },
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }
}

/// Does what the supervisor says, until it has heard that all connections are drained, or is gone.
pub(crate) async fn follow(link: &Link, drain: Drain) -> io::Result<()> {
    link.tell(FromFront::Serving);
    let mut drain = Some(drain);
    while let Some(message) = link.hear().await? {
        match message {
            ToFront::Gone(child) => {
                counter::gone(child);
                link.tell(FromFront::Cleared(child));
            }
            ToFront::Reopen => access::reopen(),
            ToFront::Close => drain.iter().for_each(Drain::close_connections),
            ToFront::Drain => {
                if let Some(drain) = drain.take() {
                    tokio::task::spawn_local(async move {
                        drain.run().await;
                        counter::tell(FromFront::Drained);
                    });
                }
            }
        }
    }
    Ok(())
}
