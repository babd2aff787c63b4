//! A channel between two processes, for whole messages of known types with at most one descriptor each.

use std::io::{self, IoSlice};
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use exchange::notice::{FromFront, ToFront};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, Shutdown, SockFlag, SockType, sendmsg, setsockopt,
    shutdown, socketpair, sockopt,
};
use nix::unistd::Pid;

use crate::sink::identity;
use crate::sys::socket::{Datagram, receive};

/// The maximum length of a message in bytes; longer texts are cut.
pub(crate) const LONGEST: usize = 16 * 1024;

/// A message for a channel.
pub(crate) trait Message: Sized {
    /// Encodes the message.
    fn encode(self) -> Envelope;

    /// Decodes the message; `None` when it is invalid.
    fn decode(bytes: &[u8], descriptor: Option<OwnedFd>) -> Option<Self>;
}

/// An encoded message.
#[derive(Debug)]
pub(crate) struct Envelope {
    /// At least one byte and at most [`LONGEST`].
    pub(crate) bytes: Vec<u8>,
    /// The descriptor that is sent with it. Our copy is closed after sending.
    pub(crate) descriptor: Option<OwnedFd>,
}

/// One end of a channel, which sends `Out` and receives `In`. It is closed on exec.
#[derive(Debug)]
pub(crate) struct Channel<Out, In> {
    socket: OwnedFd,
    /// Its device and inode. In a child, the application may close descriptors that it does not know, and the
    /// number may then be reused.
    is: Option<(u64, u64)>,
    types: PhantomData<fn(Out) -> In>,
}

/// The result of receiving without waiting.
#[derive(Debug)]
pub(crate) enum Received<In> {
    /// A message.
    Message(In),
    /// An invalid message: the sender is no unmodified process of this server.
    Malformed,
    /// No message at the moment.
    Empty,
    /// The other end is closed: the process, and all others that had the end, have exited.
    Closed,
}

impl<Out: Message, In: Message> Channel<Out, In> {
    /// A new channel: our end, and the other one to hand over. On our end the kernel reports the sender.
    pub(crate) fn pair() -> nix::Result<(Self, OwnedFd)> {
        let (ours, theirs) = socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC,
        )?;
        setsockopt(&ours, sockopt::PassCred, &true)?;
        Ok((Self::over(ours), theirs))
    }

    /// The end that was handed over.
    pub(crate) fn over(socket: OwnedFd) -> Self {
        Self {
            is: identity(&socket),
            socket,
            types: PhantomData,
        }
    }

    /// A second handle of this end: the other side sees the end of the channel when both are closed.
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self::over(self.socket.try_clone()?))
    }

    /// Sends a message, and waits while the channel is full.
    pub(crate) fn send(&self, message: Out) -> nix::Result<()> {
        self.send_with(message, MsgFlags::empty())
    }

    /// Sends a message if there is room; `EAGAIN` if not.
    pub(crate) fn try_send(&self, message: Out) -> nix::Result<()> {
        self.send_with(message, MsgFlags::MSG_DONTWAIT)
    }

    /// Shuts down sending: the other side sees the end, and can still send messages.
    ///
    /// After `close`, the other side would get an error if it had sent messages that were not read.
    pub(crate) fn finish(&self) {
        // Fails only when the other side has closed.
        let _ = shutdown(self.socket.as_raw_fd(), Shutdown::Write);
    }

    /// Waits for a message. `None` at the end of the channel.
    pub(crate) fn recv(&self) -> Option<In> {
        match self.recv_with(MsgFlags::empty()) {
            (Received::Message(message), _) => Some(message),
            (Received::Malformed | Received::Empty | Received::Closed, _) => None,
        }
    }

    /// Receives a message without waiting.
    pub(crate) fn try_recv(&self) -> Received<In> {
        self.try_recv_from().0
    }

    /// Receives a message without waiting, with the sender as reported by the kernel.
    pub(crate) fn try_recv_from(&self) -> (Received<In>, Option<Pid>) {
        self.recv_with(MsgFlags::MSG_DONTWAIT)
    }

    /// Whether its number is still that of its socket: the application may have closed it.
    pub(crate) fn is_ours(&self) -> bool {
        self.is.is_some() && identity(&self.socket) == self.is
    }

    fn send_with(&self, message: Out, flags: MsgFlags) -> nix::Result<()> {
        if !self.is_ours() {
            return Err(Errno::EBADF);
        }
        let envelope = message.encode();
        let numbers: Vec<_> = envelope.descriptor.iter().map(AsRawFd::as_raw_fd).collect();
        let with = [ControlMessage::ScmRights(&numbers)];
        let with = if numbers.is_empty() {
            &[][..]
        } else {
            &with[..]
        };
        let parts = [IoSlice::new(&envelope.bytes)];
        let flags = flags | MsgFlags::MSG_NOSIGNAL;
        loop {
            match sendmsg::<()>(self.socket.as_raw_fd(), &parts, with, flags, None) {
                Ok(_) => return Ok(()),
                // A peer that has closed with unread messages is reported once by ECONNRESET; then the channel has
                // ended.
                Err(Errno::EINTR | Errno::ECONNRESET) => {}
                Err(errno) => return Err(errno),
            }
        }
    }

    fn recv_with(&self, flags: MsgFlags) -> (Received<In>, Option<Pid>) {
        if !self.is_ours() {
            return (Received::Closed, None);
        }
        let mut buffer = [0; LONGEST];
        loop {
            return match receive(self.socket.as_fd(), &mut buffer, flags) {
                Ok(Datagram { length: 0, .. }) => (Received::Closed, None),
                Ok(message) => {
                    let bytes = &buffer[..message.length];
                    let decoded = In::decode(bytes, message.descriptor).filter(|_| !message.cut);
                    (
                        decoded.map_or(Received::Malformed, Received::Message),
                        message.sender,
                    )
                }
                // A peer that has closed with unread messages is reported once by ECONNRESET, before its own
                // messages.
                Err(Errno::EINTR | Errno::ECONNRESET) => continue,
                Err(Errno::EAGAIN) => (Received::Empty, None),
                Err(_) => (Received::Closed, None),
            };
        }
    }
}

impl<Out, In> AsFd for Channel<Out, In> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Message for ToFront {
    fn encode(self) -> Envelope {
        Envelope {
            bytes: Self::encode(self).to_vec(),
            descriptor: None,
        }
    }

    fn decode(bytes: &[u8], _descriptor: Option<OwnedFd>) -> Option<Self> {
        Self::decode(bytes)
    }
}

impl Message for FromFront {
    fn encode(self) -> Envelope {
        Envelope {
            bytes: Self::encode(self).to_vec(),
            descriptor: None,
        }
    }

    fn decode(bytes: &[u8], _descriptor: Option<OwnedFd>) -> Option<Self> {
        Self::decode(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SiteId;
    use crate::ipc::message::{ChildOrder, ChildReport, MoldReport, Order, Spawn};
    use exchange::ChildId;
    use std::io::{Read, Write};

    type Ours = Channel<Order, MoldReport>;
    type Theirs = Channel<MoldReport, Order>;

    fn unloadable() -> MoldReport {
        MoldReport::Unloadable(crate::Unloadable {
            why: "Traceback".to_owned(),
            is_final: false,
        })
    }

    fn line() -> (Ours, Theirs) {
        let (ours, theirs) = Ours::pair().unwrap();
        (ours, Channel::over(theirs))
    }

    #[test]
    fn messages_arrive_in_order() {
        let (ours, theirs) = line();
        theirs
            .send(MoldReport::Ready {
                about: "CPython 3.11".to_owned(),
            })
            .unwrap();
        theirs.send(unloadable()).unwrap();
        assert_eq!(
            ours.recv(),
            Some(MoldReport::Ready {
                about: "CPython 3.11".to_owned()
            })
        );
        assert!(matches!(
            ours.try_recv(),
            Received::Message(MoldReport::Unloadable { .. })
        ));
        assert!(matches!(ours.try_recv(), Received::Empty));
    }

    #[test]
    fn a_descriptor_is_sent_with_its_order_and_closed_here() {
        let (ours, theirs) = line();
        let (mut reader, writer) = io::pipe().unwrap();
        let child = ChildId {
            slot: 3,
            incarnation: 9,
        };
        ours.send(Order::Spawn(Spawn {
            site: SiteId(0),
            child,
            generation: 7,
            is_first: false,
            channel: writer.into(),
        }))
        .unwrap();
        let Some(Order::Spawn(spawn)) = theirs.recv() else {
            panic!("no order")
        };
        assert_eq!((spawn.child, spawn.generation), (child, 7));
        let mut arrived = std::fs::File::from(spawn.channel);
        arrived.write_all(b"through").unwrap();
        drop(arrived);
        // The pipe ends when the last copy of its writing end is closed.
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "through");
    }

    #[test]
    fn an_unread_order_is_closed_with_the_channel() {
        let (ours, theirs) = line();
        let (mut reader, writer) = io::pipe().unwrap();
        let child = ChildId {
            slot: 0,
            incarnation: 0,
        };
        ours.send(Order::Spawn(Spawn {
            site: SiteId(0),
            child,
            generation: 1,
            is_first: false,
            channel: writer.into(),
        }))
        .unwrap();
        drop(theirs);
        assert_eq!(reader.read(&mut [0]).unwrap(), 0);
    }

    #[test]
    fn last_messages_arrive_although_ours_were_not_read() {
        let (ours, theirs) = Channel::<ChildOrder, ChildReport>::pair().unwrap();
        let theirs = Channel::<ChildReport, ChildOrder>::over(theirs);
        ours.send(ChildOrder::Drain).unwrap();
        theirs.send(ChildReport::Born).unwrap();
        drop(theirs);
        assert_eq!(ours.recv(), Some(ChildReport::Born));
        assert!(matches!(ours.try_recv(), Received::Closed));
        assert_eq!(ours.send(ChildOrder::Drain), Err(Errno::EPIPE));
    }

    #[test]
    fn the_kernel_reports_the_sender() {
        let (ours, theirs) = Channel::<ChildOrder, ChildReport>::pair().unwrap();
        let theirs = Channel::<ChildReport, ChildOrder>::over(theirs);
        theirs.send(ChildReport::Born).unwrap();
        let (received, sender) = ours.try_recv_from();
        assert!(matches!(received, Received::Message(ChildReport::Born)));
        assert_eq!(sender, Some(nix::unistd::getpid()));
    }

    #[test]
    fn an_invalid_message_is_not_the_end() {
        let (ours, theirs) = Channel::<ChildOrder, ChildReport>::pair().unwrap();
        let too_long = vec![5; LONGEST + 1];
        for bytes in [&b"garbage"[..], &[1, 0, 0, 0, 0], &too_long] {
            nix::sys::socket::send(theirs.as_raw_fd(), bytes, MsgFlags::empty()).unwrap();
            assert!(matches!(ours.try_recv(), Received::Malformed));
        }
        drop(theirs);
        assert!(matches!(ours.try_recv(), Received::Closed));
    }

    #[test]
    fn after_finish_messages_still_arrive() {
        let (ours, theirs) = line();
        theirs.send(unloadable()).unwrap();
        ours.finish();
        assert!(
            matches!(theirs.try_recv(), Received::Closed),
            "and no error, although a report has not been heard"
        );
        theirs.send(unloadable()).unwrap();
        assert_eq!(ours.recv(), Some(unloadable()));
        assert_eq!(ours.recv(), Some(unloadable()));
    }

    #[test]
    fn a_full_channel_is_reported_and_loses_nothing() {
        let (ours, theirs) = Channel::<ToFront, FromFront>::pair().unwrap();
        let theirs = Channel::<FromFront, ToFront>::over(theirs);
        let mut sent = 0;
        while ours.try_send(ToFront::Drain).is_ok() {
            sent += 1;
        }
        assert_eq!(ours.try_send(ToFront::Drain), Err(Errno::EAGAIN));
        drop(ours);
        assert_eq!(std::iter::from_fn(|| theirs.recv()).count(), sent);
    }
}
