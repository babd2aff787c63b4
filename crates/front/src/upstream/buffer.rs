//! What has come of a response and has not been sent: in memory, and in a file as far as that is much, so that no thread of
//! the application waits for a slow client.

use std::collections::VecDeque;
use std::mem::replace;
use std::sync::Arc;
use std::task::Waker;

use exchange::{After, Extent, Part};

use crate::disk::DiskFile;
use crate::http::{FileBody, Next};
use crate::memory::Share;

/// Bytes of one response that are kept in memory; the rest of it overflows into a file.
const IN_MEMORY: usize = 128 * 1024;
/// Bytes that are written into a file at once.
const WRITTEN: usize = 128 * 1024;
/// Bytes that may wait to be written before the application's thread has to wait for the disk.
const AHEAD: usize = 512 * 1024;
/// A part up to this size is copied behind the one before it: each takes memory of its own. Not behind the first: whether that
/// is all decides about the framing, which must not depend on who was faster.
const SMALL: usize = 4 * 1024;

/// What has come of a response and has not been sent.
#[derive(Debug)]
pub(super) struct Buffer {
    /// What it has of all memory for responses.
    share: Share,
    parts: VecDeque<Part>,
    /// Bytes of these parts.
    bytes: usize,
    /// What has come behind them.
    overflow: Option<Overflow>,
    pub(super) end: Option<End>,
    /// What the response goes on with when its last part says so.
    pub(super) extent: Option<Extent>,
    pub(super) waker: Option<Waker>,
}

/// The part of a response that does not fit in memory, in this order: what is in the file, what is on its way there, and what
/// waits for that.
#[derive(Debug, Default)]
struct Overflow {
    file: Option<Arc<DiskFile>>,
    /// Up to where the file has been handed on, and up to where it has been written.
    read: u64,
    written: u64,
    on_its_way: usize,
    waiting: Vec<u8>,
    /// How the response goes on behind all that.
    after: Option<After>,
    /// The task that writes has been told, and has not looked since.
    is_told: bool,
    /// The disk takes no more: the rest stays in memory.
    is_full: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The last part is in the buffer, or was.
    KnownFields,
    /// The child died.
    Lost,
    /// No thread has taken it in time.
    QueuedTooLong,
}

/// What is to be written into a file.
pub(super) struct Write {
    pub(super) file: Option<Arc<DiskFile>>,
    pub(super) at: u64,
    pub(super) bytes: Vec<u8>,
}

impl Buffer {
    pub(super) fn new(share: Share) -> Self {
        Self {
            share,
            parts: VecDeque::new(),
            bytes: 0,
            overflow: None,
            end: None,
            extent: None,
            waker: None,
        }
    }

    /// Adds what has come. `true` when something is to be written, which is told once until [`Self::write`].
    pub(super) fn push(&mut self, part: Part) -> bool {
        let bytes = self.bytes + part.bytes.len();
        let has_room = self.hold(part.bytes.len());
        if self.overflow.is_none() && part.head == 0 && (bytes > IN_MEMORY || !has_room) {
            self.overflow = Some(Overflow::default());
        }
        if let Some(overflow) = &mut self.overflow {
            overflow.waiting.extend_from_slice(&part.bytes);
            overflow.after = (part.after != After::More).then_some(part.after);
            return overflow.is_to_be_written(has_room) && !replace(&mut overflow.is_told, true);
        }
        self.bytes = bytes;
        match self.parts.back_mut() {
            Some(last)
                if last.head == 0 && part.bytes.len() <= SMALL && last.bytes.len() <= SMALL =>
            {
                last.bytes.extend_from_slice(&part.bytes);
                last.after = part.after;
            }
            _ => self.parts.push_back(part),
        }
        false
    }

    /// What comes next, if it is there.
    pub(super) fn next(&mut self) -> Option<Next> {
        if let Some(part) = self.parts.pop_front() {
            self.bytes -= part.bytes.len();
            self.hold(0);
            return Some(Next::Part(part));
        }
        let Some(overflow) = &mut self.overflow else {
            let is_lost = matches!(self.end, Some(End::Lost | End::QueuedTooLong));
            return is_lost.then_some(Next::Lost);
        };
        if let Some(file) = &overflow.file
            && overflow.read < overflow.written
        {
            let length = overflow.written - overflow.read;
            let body = FileBody::new(Arc::clone(file), overflow.read, length);
            overflow.read = overflow.written;
            return Some(Next::File(body));
        }
        if overflow.on_its_way > 0 {
            return None;
        }
        // The client has caught up.
        let overflow = self.overflow.take()?;
        self.hold(0);
        if overflow.waiting.is_empty() && overflow.after.is_none() {
            return self.next();
        }
        Some(Next::Part(Part {
            bytes: overflow.waiting,
            head: 0,
            after: overflow.after.unwrap_or(After::More),
        }))
    }

    /// Whether the application's thread has to wait, for the client or for the disk. While the disk is behind, it waits unless
    /// the client does.
    pub(super) fn has_enough(&self, is_behind: bool) -> bool {
        if is_behind && self.waker.is_none() {
            return true;
        }
        let Some(overflow) = &self.overflow else {
            return false;
        };
        let ahead = if self.share.is_beyond() { 1 } else { AHEAD };
        overflow.in_memory() >= ahead
    }

    /// What is to be written now, if anything. To be followed by [`Self::written`].
    pub(super) fn write(&mut self) -> Option<Write> {
        let has_room = self.hold(0);
        let overflow = self.overflow.as_mut()?;
        overflow.is_told = false;
        if !overflow.is_to_be_written(has_room) {
            return None;
        }
        let bytes = std::mem::take(&mut overflow.waiting);
        overflow.on_its_way = bytes.len();
        Some(Write {
            file: overflow.file.clone(),
            at: overflow.written,
            bytes,
        })
    }

    /// What was to be written is in this file, or could not be written.
    pub(super) fn written(&mut self, bytes: Vec<u8>, file: Option<Arc<DiskFile>>) {
        let Some(overflow) = &mut self.overflow else {
            return;
        };
        overflow.on_its_way = 0;
        if file.is_some() {
            overflow.file = file;
            overflow.written += bytes.len() as u64;
        } else {
            overflow.is_full = true;
            let behind = replace(&mut overflow.waiting, bytes);
            overflow.waiting.extend_from_slice(&behind);
        }
        self.hold(0);
    }

    /// Forgets the response, keeps the room for its parts.
    pub(super) fn empty(&mut self) {
        self.parts.clear();
        self.bytes = 0;
        (self.overflow, self.end) = (None, None);
        (self.extent, self.waker) = (None, None);
        self.hold(0);
    }

    /// Has what is in memory counted, and so many bytes more; tells whether there is room for them.
    fn hold(&mut self, more: usize) -> bool {
        let behind = self.overflow.as_ref().map_or(0, Overflow::in_memory);
        self.share.hold(self.bytes + behind + more)
    }
}

impl Overflow {
    fn in_memory(&self) -> usize {
        self.waiting.len() + self.on_its_way
    }

    fn is_to_be_written(&self, has_room: bool) -> bool {
        let least = if has_room { WRITTEN } else { 1 };
        self.on_its_way == 0 && !self.is_full && self.waiting.len() >= least
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use proptest::prelude::*;

    use super::*;
    use crate::memory::Memory;

    /// What happens to a buffer.
    #[derive(Clone, Debug)]
    enum Step {
        Push(usize),
        Next,
        Write,
        Written,
        Failed,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        prop::collection::vec(
            prop_oneof![
                4 => prop_oneof![1..10usize, 1..70_000usize].prop_map(Step::Push),
                2 => Just(Step::Next),
                2 => Just(Step::Write),
                2 => Just(Step::Written),
                1 => Just(Step::Failed),
            ],
            1..60,
        )
    }

    /// Takes what comes next; `false` when nothing is there.
    fn take(buffer: &mut Buffer, got: &mut Vec<u8>, after: &mut Option<After>) -> bool {
        match buffer.next() {
            None => return false,
            Some(Next::Part(part)) => {
                got.extend_from_slice(&part.bytes);
                if part.after != After::More {
                    *after = Some(part.after);
                }
            }
            Some(Next::File(mut body)) => {
                let context = &mut std::task::Context::from_waker(Waker::noop());
                loop {
                    match body.poll_next(context) {
                        std::task::Poll::Ready(Ok(crate::http::Piece::File(piece))) => {
                            got.extend(piece.read().unwrap());
                        }
                        std::task::Poll::Ready(Ok(crate::http::Piece::End)) => break,
                        other => panic!("{other:?}"),
                    }
                }
            }
            Some(Next::Lost) => panic!("nothing was lost"),
        }
        true
    }

    /// What the disk does with what it is given.
    fn put(write: Write) -> (Vec<u8>, Arc<DiskFile>) {
        let file = write
            .file
            .unwrap_or_else(|| Arc::new(tempfile::tempfile().unwrap().into()));
        file.file().write_all_at(&write.bytes, write.at).unwrap();
        (write.bytes, file)
    }

    proptest! {
        #[test]
        fn what_comes_is_what_goes_however_the_disk_and_the_client_take_turns(
            steps in steps(),
            most in prop_oneof![Just(0), Just(100_000), Just(1 << 20)],
        ) {
            let mut buffer = Buffer::new(Memory::new(most).share());
            let (mut given, mut got, mut after) = (Vec::new(), Vec::new(), None);
            let mut writing: Option<Write> = None;
            let mut number = 0_u8;
            for step in steps {
                match step {
                    Step::Push(length) => {
                        number = number.wrapping_add(1);
                        let bytes = vec![number; length];
                        given.extend_from_slice(&bytes);
                        buffer.push(Part { bytes, head: 0, after: After::More });
                    }
                    Step::Next => drop(take(&mut buffer, &mut got, &mut after)),
                    Step::Write => writing = writing.or_else(|| buffer.write()),
                    Step::Written => if let Some(write) = writing.take() {
                        let (bytes, file) = put(write);
                        buffer.written(bytes, Some(file));
                    },
                    Step::Failed => if let Some(write) = writing.take() {
                        buffer.written(write.bytes, None);
                    },
                }
            }
            buffer.push(Part { bytes: b"end".to_vec(), head: 0, after: After::Complete });
            given.extend_from_slice(b"end");
            while let Some(write) = writing.take().or_else(|| buffer.write()) {
                let (bytes, file) = put(write);
                buffer.written(bytes, Some(file));
            }
            while take(&mut buffer, &mut got, &mut after) {}
            prop_assert!(got == given, "{} bytes of {}", got.len(), given.len());
            prop_assert_eq!(after, Some(After::Complete));
        }
    }

    #[test]
    fn what_is_to_be_written_is_told_once() {
        let mut buffer = Buffer::new(Memory::new(1 << 20).share());
        let push = |buffer: &mut Buffer| {
            buffer.push(Part {
                bytes: vec![1; 1024],
                head: 0,
                after: After::More,
            })
        };
        let parts = (IN_MEMORY + WRITTEN) / 1024 + 100;
        assert_eq!((0..parts).filter(|_| push(&mut buffer)).count(), 1);
        let write = buffer.write().unwrap();
        assert!(!push(&mut buffer));
        buffer.written(write.bytes, None);
        assert!(buffer.write().is_none());
    }

    #[test]
    fn small_parts_are_collected_behind_the_first() {
        let mut buffer = Buffer::new(Memory::new(1 << 20).share());
        for number in 0..1000 {
            buffer.push(Part {
                bytes: vec![1],
                head: usize::from(number == 0),
                after: After::More,
            });
        }
        assert_eq!(buffer.parts.len(), 2);
        let Some(Next::Part(first)) = buffer.next() else {
            panic!();
        };
        assert_eq!((first.head, first.bytes.len()), (1, 1));
    }
}
