//! What is there of a response and has not been given to hyper.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, ready};

use super::data::{Data, InFlight};
use crate::context::Context;
use crate::disk::DiskFile;
use crate::http::FilePiece;
use crate::memory::{FREE, Share};

/// Bytes that a client is given at once. It may take nothing for `--send-timeout` before it has taken these.
pub(super) const GIVEN: usize = 64 * 1024;

/// The bytes that are there, and the piece before them.
pub(super) struct Kept {
    bytes: Bytes,
    in_flight: Rc<InFlight>,
    context: Rc<Context>,
    /// The connection has had a turn to send the piece before them.
    has_yielded: bool,
}

enum Bytes {
    None,
    Memory(Memory),
    /// On their way into a file.
    Storing(Pin<Box<Storing>>),
    File(FilePiece),
}

type Storing = dyn Future<Output = (Vec<u8>, Share, io::Result<Arc<DiskFile>>)>;

struct Memory {
    bytes: Vec<u8>,
    /// Up to where they have been given.
    given: usize,
    share: Share,
    /// They could not be written into a file.
    stays: bool,
}

impl Kept {
    /// These bytes from `from` on.
    pub(super) fn new(bytes: Vec<u8>, from: usize, context: &Rc<Context>) -> Self {
        let mut kept = Self::empty(context);
        kept.put_from(bytes, from);
        kept
    }

    pub(super) fn empty(context: &Rc<Context>) -> Self {
        Self {
            bytes: Bytes::None,
            in_flight: Rc::default(),
            context: Rc::clone(context),
            has_yielded: false,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        matches!(self.bytes, Bytes::None)
    }

    /// These bytes follow; nothing else is there.
    pub(super) fn put(&mut self, bytes: Vec<u8>) {
        self.put_from(bytes, 0);
    }

    /// The same of a file.
    pub(super) fn put_file(&mut self, piece: FilePiece) {
        if piece.length > 0 {
            self.bytes = Bytes::File(piece);
        }
    }

    fn put_from(&mut self, bytes: Vec<u8>, given: usize) {
        if bytes.len() > given {
            let mut share = self.context.memory.share();
            share.hold(bytes.len());
            self.bytes = Bytes::Memory(Memory {
                bytes,
                given,
                share,
                stays: false,
            });
        }
    }

    /// Whether the client has taken what has been given. While it has not, what there is no memory for goes into a file.
    pub(super) fn poll_taken(&mut self, task: &mut TaskContext<'_>) -> Poll<()> {
        if !self.in_flight.is_any() {
            return Poll::Ready(());
        }
        self.in_flight.wake_when_taken(task.waker());
        if let Bytes::Memory(memory) = &self.bytes
            && memory.share.exceeds_budget()
            && !memory.stays
        {
            if self.has_yielded {
                self.store();
            } else {
                // Of the connection, which has just been woken, it is the turn before this comes again.
                self.has_yielded = true;
                task.waker().wake_by_ref();
            }
        }
        let _ = self.poll_stored(task);
        Poll::Pending
    }

    fn store(&mut self) {
        if let Bytes::Memory(memory) = std::mem::replace(&mut self.bytes, Bytes::None) {
            let Memory {
                mut bytes,
                given,
                share,
                ..
            } = memory;
            bytes.drain(..given);
            let context = Rc::clone(&self.context);
            self.bytes = Bytes::Storing(Box::pin(async move {
                let (bytes, file) = context.disk.write(None, 0, bytes).await;
                (bytes, share, file)
            }));
        }
    }

    /// Ready when nothing is on its way into a file.
    fn poll_stored(&mut self, task: &mut TaskContext<'_>) -> Poll<()> {
        if let Bytes::Storing(storing) = &mut self.bytes {
            let (bytes, share, file) = ready!(storing.as_mut().poll(task));
            self.bytes = match file {
                Ok(file) => Bytes::File(FilePiece {
                    file,
                    offset: 0,
                    length: bytes.len(),
                }),
                Err(_) => Bytes::Memory(Memory {
                    bytes,
                    given: 0,
                    share,
                    stays: true,
                }),
            };
        }
        Poll::Ready(())
    }

    /// The next piece, of at most so many bytes. To be called when there is something, and the piece before has been taken.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub(super) fn poll_give(
        &mut self,
        most: usize,
        task: &mut TaskContext<'_>,
    ) -> Poll<io::Result<Data>> {
        ready!(self.poll_stored(task));
        self.has_yielded = false;
        let (bytes, from, share) = match std::mem::replace(&mut self.bytes, Bytes::None) {
            Bytes::Memory(memory) => self.of_memory(memory, most),
            Bytes::File(piece) => match self.of_file(piece, most) {
                Ok((bytes, share)) => (bytes, 0, share),
                Err(error) => return Poll::Ready(Err(error)),
            },
            Bytes::None | Bytes::Storing(..) => (Vec::new(), 0, self.context.memory.share()),
        };
        Poll::Ready(Ok(self.in_flight.give(bytes, from, share)))
    }

    fn of_memory(&mut self, mut memory: Memory, most: usize) -> (Vec<u8>, usize, Share) {
        let has_room = !memory.share.exceeds_budget();
        let most = most.min(if has_room { GIVEN } else { FREE });
        if memory.left() <= most && (has_room || memory.bytes.len() <= FREE) {
            return (memory.bytes, memory.given, memory.share);
        }
        let end = memory.given + memory.left().min(most);
        let bytes = memory.bytes[memory.given..end].to_vec();
        memory.given = end;
        if memory.left() > 0 {
            self.bytes = Bytes::Memory(memory);
        }
        let mut share = self.context.memory.share();
        share.hold(bytes.len());
        (bytes, 0, share)
    }

    fn of_file(&mut self, mut piece: FilePiece, most: usize) -> io::Result<(Vec<u8>, Share)> {
        let mut share = self.context.memory.share();
        let wanted = piece.length.min(GIVEN).min(most);
        let most = if share.hold(wanted) { wanted } else { FREE };
        let bytes = piece.read_begin(most.min(wanted))?;
        share.hold(bytes.len());
        self.put_file(piece);
        Ok((bytes, share))
    }
}

impl Memory {
    fn left(&self) -> usize {
        self.bytes.len() - self.given
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").finish_non_exhaustive()
    }
}
