//! The interface over which the application's answer is sent.

use std::os::fd::OwnedFd;

use crate::codec::Head;

/// How an answer goes on after this part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// Further parts follow.
    More,
    /// This was the last part, and the answer is complete.
    Complete,
    /// The rest is a part of a file, whose descriptor has been sent to the front: see [`Reply::send_file`].
    File,
    /// The application failed: the client must not take the answer for complete.
    Broken,
}

/// A part of a regular file.
#[derive(Debug)]
pub struct Extent {
    /// The file, open for reading. Its position is not used, since other processes may share it.
    pub file: OwnedFd,
    /// Where the part begins.
    pub offset: u64,
    /// How many bytes it has.
    pub length: u64,
}

/// The answer is not wanted any more: the client has gone, or the front has given the request up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

impl std::fmt::Display for Gone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the client has gone")
    }
}

impl std::error::Error for Gone {}

/// Takes the parts of one answer, in order.
///
/// The head comes with the first part and only there. `After::Broken` before any head means that the application failed
/// before it sent anything: the front answers 500 in its place.
pub trait Reply: Send {
    /// Whether [`Reply::send`] of a part of so many bytes (encoded head and data) would not wait for the reader.
    fn fits(&self, bytes: usize) -> bool;

    /// Sends one part; waits while the reader is slow, so detach from the interpreter before unless it [`Reply::fits`].
    ///
    /// # Errors
    /// [`Gone`] when the answer is not wanted; later parts will fail the same way.
    fn send(&mut self, head: Option<&Head<'_>>, data: &[u8], after: After) -> Result<(), Gone>;

    /// Sends the last part, whose data the front reads from a file after the thread has gone on. Waits like [`Reply::send`]
    /// of a part with this head and no data.
    ///
    /// # Errors
    /// [`Gone`] when the answer is not wanted.
    fn send_file(&mut self, head: Option<&Head<'_>>, extent: Extent) -> Result<(), Gone>;
}
