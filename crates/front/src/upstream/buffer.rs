//! The part of a response that has been received from the application and not been sent: in memory, and the rest in
//! a file, so that no application thread waits for a slow client.

use std::collections::VecDeque;
use std::mem::replace;
use std::sync::Arc;
use std::task::Waker;

use exchange::{After, Extent, Part};

use crate::disk::DiskFile;
use crate::http::{FileBody, Next};
use crate::memory::Share;

/// Bytes of one response that are kept in memory; the rest goes into a file.
const IN_MEMORY: usize = 128 * 1024;
/// Bytes of one write into a file.
const WRITTEN: usize = 128 * 1024;
/// Bytes that may wait to be written before the application's thread has to wait for the disk.
const AHEAD: usize = 512 * 1024;
/// A part up to this size is appended to the part before it, because each part has its own allocation. Not to the
/// first part: whether the first part is the whole response decides the framing, which must not depend on timing.
const SMALL: usize = 4 * 1024;

/// The received and unsent part of a response.
#[derive(Debug)]
pub(super) struct Buffer {
    /// Its share of the memory budget.
    share: Share,
    parts: VecDeque<Part>,
    /// Bytes of these parts.
    bytes: usize,
    /// Parts after those in memory.
    overflow: Option<Overflow>,
    pub(super) end: Option<End>,
    /// The file extent that continues the response, if the last part announced one.
    pub(super) extent: Option<Extent>,
    pub(super) waker: Option<Waker>,
}

/// The part of a response that does not fit in memory, in this order: what is in the file, what is being written to
/// it, and what waits to be written.
#[derive(Debug, Default)]
struct Overflow {
    file: Option<Arc<DiskFile>>,
    /// Offset up to which the file was handed on, and offset up to which it was written.
    read: u64,
    written: u64,
    on_its_way: usize,
    waiting: Vec<u8>,
    /// How the response continues after all of this.
    after: Option<After>,
    /// The writing task was notified, and has not checked since.
    is_notified: bool,
    /// The disk is full or fails: the rest stays in memory.
    is_full: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The last part was received.
    Complete,
    /// The child died.
    Lost,
    /// No thread took the request in time.
    QueuedTooLong,
}

/// Bytes to be written into a file.
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

    /// Adds a part. Returns `true` when something is to be written, once until the next [`Self::write`].
    pub(super) fn push(&mut self, part: Part) -> bool {
        let bytes = self.bytes + part.bytes.len();
        let has_room = self.hold(part.bytes.len());
        if self.overflow.is_none() && part.head == 0 && (bytes > IN_MEMORY || !has_room) {
            self.overflow = Some(Overflow::default());
        }
        if let Some(overflow) = &mut self.overflow {
            overflow.waiting.extend_from_slice(&part.bytes);
            overflow.after = (part.after != After::More).then_some(part.after);
            return overflow.needs_write(has_room) && !replace(&mut overflow.is_notified, true);
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

    /// The next item, if there is one.
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
        // All of the overflow was read.
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

    /// Whether the application's thread has to wait, for the client or for the disk. While the disk is behind, the
    /// thread waits, unless the client is ready for more.
    pub(super) fn must_wait(&self, has_backlog: bool) -> bool {
        if has_backlog && self.waker.is_none() {
            return true;
        }
        let Some(overflow) = &self.overflow else {
            return false;
        };
        let ahead = if self.share.exceeds_budget() {
            1
        } else {
            AHEAD
        };
        overflow.in_memory() >= ahead
    }

    /// The next bytes to be written, if any. To be followed by [`Self::written`].
    pub(super) fn write(&mut self) -> Option<Write> {
        let has_room = self.hold(0);
        let overflow = self.overflow.as_mut()?;
        overflow.is_notified = false;
        if !overflow.needs_write(has_room) {
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

    /// Completes a write; `file` is `None` when it failed.
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
            let rest = replace(&mut overflow.waiting, bytes);
            overflow.waiting.extend_from_slice(&rest);
        }
        self.hold(0);
    }

    /// Clears the response, and keeps the allocation for its parts.
    pub(super) fn empty(&mut self) {
        self.parts.clear();
        self.bytes = 0;
        (self.overflow, self.end) = (None, None);
        (self.extent, self.waker) = (None, None);
        self.hold(0);
    }

    /// Counts the bytes in memory and `more` in the share; returns whether the budget covers them.
    fn hold(&mut self, more: usize) -> bool {
        let overflow = self.overflow.as_ref().map_or(0, Overflow::in_memory);
        self.share.hold(self.bytes + overflow + more)
    }
}

impl Overflow {
    fn in_memory(&self) -> usize {
        self.waiting.len() + self.on_its_way
    }

    fn needs_write(&self, has_room: bool) -> bool {
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

    /// A step of the property test.
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

    /// Takes the next item; `false` when there is none.
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

    /// Performs a write.
    fn put(write: Write) -> (Vec<u8>, Arc<DiskFile>) {
        let file = write
            .file
            .unwrap_or_else(|| Arc::new(tempfile::tempfile().unwrap().into()));
        file.file().write_all_at(&write.bytes, write.at).unwrap();
        (write.bytes, file)
    }

    proptest! {
        #[test]
        fn parts_come_out_in_order_however_the_disk_and_the_client_interleave(
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
    fn a_write_is_announced_once() {
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
    fn small_parts_after_the_first_are_merged() {
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
