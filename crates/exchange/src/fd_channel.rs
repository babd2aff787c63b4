//! Descriptors: how a body that lies in a file comes from the front to the thread that has claimed the request, and how
//! an answer that lies in one comes to the front.
//!
//! Any thread may claim any request, so the front cannot send the file along. The thread asks for it: it sends the
//! request's id and one end of a fresh socketpair over a socket that all children share, and the front sends the file over
//! that pair. When the front dies meanwhile, its end is closed, and the thread reads the end of file.
//!
//! The file of an answer goes over the same socket before the last frame of the answer is written into the ring: a
//! front that has read the frame finds the file on the channel of descriptors.
//!
//! A message does not name its sender: the kernel adds the number of the process (`SCM_CREDENTIALS`), and the front
//! compares that with the child that has taken the request (`dispatcher::descriptors`).

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
    sockopt,
};

use crate::checked_fd::CheckedFd;
use crate::ids::RequestId;
use crate::reply::Extent;

/// Bytes of a message that asks: the id of the request.
const WANTED: usize = 8;
/// Bytes of a message that gives: the id of the request, offset, length.
const GIVEN: usize = 24;

/// The children's end of the pair of sockets that they share.
#[derive(Debug)]
pub(crate) struct FdChannel {
    pub(crate) children: CheckedFd,
}

/// A message and its sender.
#[derive(Debug)]
pub(crate) struct FdMessage {
    pub(crate) content: Content,
    /// The number of the process that has sent it, from the kernel.
    pub(crate) process: u32,
}

#[derive(Debug)]
pub(crate) enum Content {
    /// A thread waits for the body of its request.
    WantBody(WantedBody),
    /// The rest of this request's answer is this part of a file.
    FileAnswer(RequestId, Extent),
}

/// A thread waits for the file of this request.
#[derive(Debug)]
pub struct WantedBody {
    /// The request.
    pub request_id: RequestId,
    /// The socket that the file is sent over. Dropped without a file, the thread gets an error.
    pub reply: OwnedFd,
}

impl FdChannel {
    /// The children's end, and the front's.
    pub(crate) fn open() -> io::Result<(Self, OwnedFd)> {
        let (front, children) = pair()?;
        sockopt::set_socket_passcred(&front, true)?;
        // Nonblocking for the front's event loop.
        rustix::io::ioctl_fionbio(&front, true)?;
        let children = CheckedFd::new(children)?;
        Ok((Self { children }, front))
    }

    /// Asks the front for the file of `request_id`, and waits for it.
    pub(crate) fn fetch(&self, request_id: RequestId) -> io::Result<OwnedFd> {
        let (ours, theirs) = pair()?;
        send(
            self.children.get()?,
            &request_id.pack().to_le_bytes(),
            theirs.as_fd(),
            SendFlags::NOSIGNAL,
        )?;
        drop(theirs);
        let mut byte = [0; 1];
        match receive(ours.as_fd(), &mut byte, RecvFlags::empty())? {
            Received {
                length: 1,
                descriptor: Some(file),
                ..
            } => Ok(file),
            _ => Err(io::Error::new(
                io::ErrorKind::NotFound,
                "the front no longer holds the body of this request",
            )),
        }
    }

    /// Sends the front the file with the rest of the answer to `request_id`.
    pub(crate) fn give(&self, request_id: RequestId, extent: &Extent) -> io::Result<()> {
        let mut bytes = [0; GIVEN];
        let numbers = [request_id.pack(), extent.offset, extent.length];
        for (place, number) in bytes.chunks_exact_mut(WANTED).zip(numbers) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        send(
            self.children.get()?,
            &bytes,
            extent.file.as_fd(),
            SendFlags::NOSIGNAL,
        )
    }

    /// The next message, at the front's end; `WouldBlock` when there is none.
    pub(crate) fn next(front: BorrowedFd<'_>) -> io::Result<Option<FdMessage>> {
        let mut bytes = [0; GIVEN];
        let Received {
            length,
            descriptor,
            process,
        } = receive(front, &mut bytes, RecvFlags::DONTWAIT)?;
        let mut numbers = [0; GIVEN / WANTED];
        for (number, place) in numbers.iter_mut().zip(bytes.as_chunks().0) {
            *number = u64::from_le_bytes(*place);
        }
        let [request_id, offset, length_of_part] = numbers;
        let request_id = RequestId::unpack(request_id);
        let content = match (length, descriptor) {
            (WANTED, Some(reply)) => Content::WantBody(WantedBody { request_id, reply }),
            (GIVEN, Some(file)) => {
                let length = length_of_part;
                let extent = Extent {
                    file,
                    offset,
                    length,
                };
                Content::FileAnswer(request_id, extent)
            }
            // A message of another form is dropped, and its descriptor closed.
            _ => return Ok(None),
        };
        Ok(process.map(|process| FdMessage { content, process }))
    }
}

impl WantedBody {
    /// Sends the thread its file, without blocking: a fresh socket has room for one message, and the child may have sent
    /// another kind of socket.
    ///
    /// # Errors
    /// When the thread is no longer there, or its socket is full.
    pub fn give(self, file: BorrowedFd<'_>) -> io::Result<()> {
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        send(self.reply.as_fd(), &[1], file, flags)
    }
}

fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?)
}

fn send(
    to: BorrowedFd<'_>,
    bytes: &[u8],
    descriptor: BorrowedFd<'_>,
    flags: SendFlags,
) -> io::Result<()> {
    let descriptors = [descriptor];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::ErrorKind::OutOfMemory.into());
    }
    rustix::io::retry_on_intr(|| sendmsg(to, &[IoSlice::new(bytes)], &mut control, flags))?;
    Ok(())
}

/// One message.
struct Received {
    length: usize,
    descriptor: Option<OwnedFd>,
    /// The sender, on a socket with `SO_PASSCRED`.
    process: Option<u32>,
}

fn receive(from: BorrowedFd<'_>, bytes: &mut [u8], flags: RecvFlags) -> io::Result<Received> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1), ScmCredentials(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(bytes)];
    let received = rustix::io::retry_on_intr(|| {
        recvmsg(
            from,
            &mut parts,
            &mut control,
            flags | RecvFlags::CMSG_CLOEXEC,
        )
    })?;
    let (mut descriptor, mut process) = (None, None);
    for message in control.drain() {
        match message {
            RecvAncillaryMessage::ScmRights(descriptors) => {
                // Our threads send one. Of several the last is kept, the others are closed.
                descriptor = descriptors.last();
            }
            RecvAncillaryMessage::ScmCredentials(sender) => {
                process = u32::try_from(sender.pid.as_raw_nonzero().get()).ok();
            }
            _ => {}
        }
    }
    Ok(Received {
        length: received.bytes,
        descriptor,
        process,
    })
}
