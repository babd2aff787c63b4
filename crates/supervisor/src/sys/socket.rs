//! Received and inherited descriptors, and the state of a socket.
#![expect(
    unsafe_code,
    reason = "a descriptor arrives as a number; here it becomes owned, or is asked what nix cannot ask"
)]

use std::io::{self, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, UnixCredentials, recvmsg};
use nix::unistd::Pid;

/// One message.
#[derive(Debug)]
pub(crate) struct Datagram {
    /// Its length; 0 at the end of the channel.
    pub(crate) length: usize,
    /// It was longer than the buffer.
    pub(crate) cut: bool,
    /// The descriptor in it.
    pub(crate) descriptor: Option<OwnedFd>,
    /// The sender as reported by the kernel, if requested by [`nix::sys::socket::sockopt::PassCred`].
    pub(crate) sender: Option<Pid>,
}

/// Receives one message.
pub(crate) fn receive(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    flags: MsgFlags,
) -> nix::Result<Datagram> {
    let mut control = nix::cmsg_space!([RawFd; 1], UnixCredentials);
    let mut parts = [IoSliceMut::new(buffer)];
    let flags = flags | MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut control), flags)?;
    let mut descriptor = None;
    let mut sender = None;
    for part in message.cmsgs()? {
        match part {
            ControlMessageOwned::ScmRights(numbers) => {
                for number in numbers {
                    // SAFETY: the kernel has just made this descriptor for us, and no other code knows its number.
                    descriptor = Some(unsafe { OwnedFd::from_raw_fd(number) });
                }
            }
            ControlMessageOwned::ScmCredentials(credentials) => {
                sender = Some(Pid::from_raw(credentials.pid()));
            }
            _ => {}
        }
    }
    Ok(Datagram {
        length: message.bytes,
        cut: message.flags.contains(MsgFlags::MSG_TRUNC),
        descriptor,
        sender,
    })
}

/// Takes over the descriptor that this process has inherited under `number`, and sets it to close on exec.
///
/// # Errors
/// When there is no such descriptor, or it is one of standard input, output and error.
pub(crate) fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    if number <= libc::STDERR_FILENO {
        return Err(Errno::EBADF.into());
    }
    // SAFETY: borrowed for one call, which fails when the number is no descriptor.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    fcntl(borrowed, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    // SAFETY: the call above has found it open, and the operator has named it for our use alone. No other part of
    // the program owns it, because this runs at the start, when only inherited descriptors are open.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Bytes that this socket has buffered and the peer has not acknowledged.
///
/// # Errors
/// When the descriptor is not a socket.
pub fn untaken(socket: BorrowedFd<'_>) -> io::Result<usize> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the descriptor is open while it is borrowed, and the kernel writes one int, for which there is room.
    let asked = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    Errno::result(asked)?;
    Ok(usize::try_from(bytes).unwrap_or(0))
}
