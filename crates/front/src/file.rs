//! The rest of an answer that lies in a file: sent from here, so that no thread of the application waits for a slow
//! client.
//!
//! hyper frames and orders what is sent, and knows only bytes in memory. For each piece of a file it gets a hole of the
//! same length: bytes that nobody reads, and that hyper does not copy when it writes by vectors. Where a hole is to be
//! written, the [`Wire`](crate::wire::Wire) has the kernel send the piece instead (sendfile(2)).

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use exchange::Extent;
use rustix::fs::sendfile;
use rustix::io::{ReadWriteFlags, preadv2};
use tokio::task::JoinHandle;

/// Bytes of a piece: what is not in the page cache is held in memory for a client that takes little.
const PIECE: usize = 256 * 1024;

thread_local! {
    /// Fresh zeros are memory only once somebody touches them, and nobody does.
    static HOLE: Bytes = vec![0; PIECE].into();
}

/// What is left of a part of a file.
#[derive(Debug)]
pub(crate) struct FileRest {
    file: Arc<File>,
    offset: u64,
    left: u64,
    /// A piece that is on its way from the disk.
    coming: Option<JoinHandle<io::Result<Vec<u8>>>>,
    holes: Holes,
}

/// The pieces of files that a connection has in hand, in the order in which they are to be sent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Holes(Rc<RefCell<VecDeque<Piece>>>);

#[derive(Debug)]
struct Piece {
    file: Arc<File>,
    offset: u64,
    left: usize,
}

impl FileRest {
    /// Nothing is believed of what the thread has said about the file.
    pub(crate) fn open(extent: Extent, holes: Holes) -> io::Result<Self> {
        let file = File::from(extent.file);
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is no regular file"));
        }
        Ok(Self {
            file: Arc::new(file),
            offset: extent.offset,
            left: extent.length,
            coming: None,
            holes,
        })
    }

    /// Bytes that have not been given out.
    pub(crate) fn left(&self) -> u64 {
        self.left
    }

    /// The next piece, or a hole in its place; an error also when the file has become shorter.
    pub(crate) fn poll_next(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<Option<Bytes>>> {
        if self.left == 0 {
            return Poll::Ready(Ok(None));
        }
        if self.coming.is_none() && !self.is_cached()? {
            self.coming = Some(self.read_from_disk());
        }
        let piece = match &mut self.coming {
            Some(coming) => {
                let piece = ready!(Pin::new(coming).poll(context));
                self.coming = None;
                Bytes::from(piece.map_err(io::Error::other)??)
            }
            None => self.holes.dig(&self.file, self.offset, self.next_length()),
        };
        if piece.is_empty() {
            return Poll::Ready(Err(shorter()));
        }
        self.offset += piece.len() as u64;
        self.left -= piece.len() as u64;
        Poll::Ready(Ok(Some(piece)))
    }

    fn next_length(&self) -> usize {
        usize::try_from(self.left).map_or(PIECE, |left| left.min(PIECE))
    }

    /// Whether the next piece is in memory, as far as its ends tell: where the disk would have to be waited for, every
    /// connection would wait.
    fn is_cached(&self) -> io::Result<bool> {
        for at in [0, self.next_length() as u64 - 1] {
            let mut byte = [0; 1];
            let mut slices = [IoSliceMut::new(&mut byte)];
            let flags = ReadWriteFlags::NOWAIT;
            match preadv2(&*self.file, &mut slices, self.offset + at, flags) {
                Ok(1) => {}
                Ok(_) => return Err(shorter()),
                Err(error) => match error.kind() {
                    // Some file systems do not know the question.
                    io::ErrorKind::WouldBlock | io::ErrorKind::Unsupported => return Ok(false),
                    _ => return Err(error.into()),
                },
            }
        }
        Ok(true)
    }

    fn read_from_disk(&self) -> JoinHandle<io::Result<Vec<u8>>> {
        let (file, offset) = (Arc::clone(&self.file), self.offset);
        let mut piece = vec![0; self.next_length()];
        tokio::task::spawn_blocking(move || {
            let length = file.read_at(&mut piece, offset)?;
            piece.truncate(length);
            Ok(piece)
        })
    }
}

fn shorter() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "it has become shorter")
}

impl Holes {
    /// Makes the hole for a piece, which is sent after those before it.
    fn dig(&self, file: &Arc<File>, offset: u64, length: usize) -> Bytes {
        self.0.borrow_mut().push_back(Piece {
            file: Arc::clone(file),
            offset,
            left: length,
        });
        HOLE.with(|hole| hole.slice(..length))
    }

    /// Whether no piece of a file is in hand.
    pub(crate) fn are_none(&self) -> bool {
        self.0.borrow().is_empty()
    }

    /// How many slices there are before the first hole.
    pub(crate) fn solid(&self, slices: &[IoSlice<'_>]) -> usize {
        if self.are_none() {
            return slices.len();
        }
        let hole = HOLE.with(|hole| hole.as_ptr_range());
        let is_hole = |slice: &IoSlice<'_>| !slice.is_empty() && hole.contains(&slice.as_ptr());
        slices.iter().position(is_hole).unwrap_or(slices.len())
    }

    /// Sends what belongs into a hole that has so many bytes left, or some of it.
    pub(crate) fn fill(&self, socket: BorrowedFd<'_>, length: usize) -> io::Result<usize> {
        let mut pieces = self.0.borrow_mut();
        let gone = || io::Error::other("a hole without a file");
        let piece = pieces.front_mut().ok_or_else(gone)?;
        let length = length.min(piece.left);
        let sent = sendfile(socket, &piece.file, Some(&mut piece.offset), length)?;
        if sent == 0 {
            return Err(shorter());
        }
        piece.left -= sent;
        if piece.left == 0 {
            pieces.pop_front();
        }
        Ok(sent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Buf;
    use std::io::{Read, Write};
    use std::os::fd::{AsFd, OwnedFd};

    fn rest(file: OwnedFd, offset: u64, length: u64) -> io::Result<FileRest> {
        let extent = Extent {
            file,
            offset,
            length,
        };
        FileRest::open(extent, Holes::default())
    }

    /// What is sent in the place of a hole.
    fn fill(holes: &Holes, mut hole: Bytes) -> io::Result<Vec<u8>> {
        let (mut reader, writer) = io::pipe()?;
        let mut sent = Vec::new();
        while !hole.is_empty() {
            assert_eq!(
                holes.solid(&[IoSlice::new(b"solid"), IoSlice::new(&hole)]),
                1
            );
            let length = holes.fill(writer.as_fd(), hole.len().min(4096))?;
            hole.advance(length);
            let mut bytes = vec![0; length];
            reader.read_exact(&mut bytes)?;
            sent.extend_from_slice(&bytes);
        }
        assert_eq!(holes.solid(&[IoSlice::new(&HOLE.with(Bytes::clone))]), 1);
        Ok(sent)
    }

    /// All pieces together, and how they end.
    fn read(mut rest: FileRest, from_disk: bool) -> (Vec<u8>, io::Result<()>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let mut all = Vec::new();
        loop {
            if from_disk && rest.left > 0 {
                let _runtime = runtime.enter();
                rest.coming = Some(rest.read_from_disk());
            }
            let next = std::future::poll_fn(|context| rest.poll_next(context));
            match runtime.block_on(next) {
                Ok(Some(piece)) if from_disk => all.extend_from_slice(&piece),
                Ok(Some(hole)) => match fill(&rest.holes, hole) {
                    Ok(piece) => all.extend_from_slice(&piece),
                    Err(error) => return (all, Err(error)),
                },
                Ok(None) => return (all, Ok(())),
                Err(error) => return (all, Err(error)),
            }
        }
    }

    #[test]
    fn a_part_is_read_from_its_offset_to_its_end() {
        let bytes: Vec<u8> = (0..=250).cycle().take(3 * PIECE).collect();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        for from_disk in [false, true] {
            let file = file.try_clone().unwrap();
            let rest = rest(file.into(), 5, (2 * PIECE) as u64).unwrap();
            let (read, end) = read(rest, from_disk);
            assert!(end.is_ok() && read == bytes[5..5 + 2 * PIECE], "{end:?}");
        }
    }

    #[test]
    fn a_file_that_has_become_shorter_is_an_error() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"short").unwrap();
        for from_disk in [false, true] {
            let file = file.try_clone().unwrap();
            let (read, end) = read(rest(file.into(), 0, 6).unwrap(), from_disk);
            let kind = end.map_err(|error| error.kind());
            let expected = if from_disk { &b"short"[..] } else { b"" };
            assert_eq!(
                (&*read, kind),
                (expected, Err(io::ErrorKind::UnexpectedEof))
            );
        }
        let mut rest = rest(file.try_clone().unwrap().into(), 0, 5).unwrap();
        let next = rest.poll_next(&mut Context::from_waker(std::task::Waker::noop()));
        let Poll::Ready(Ok(Some(hole))) = next else {
            panic!("{next:?}");
        };
        file.set_len(0).unwrap();
        let end = fill(&rest.holes, hole).map_err(|error| error.kind());
        assert_eq!(end, Err(io::ErrorKind::UnexpectedEof));
    }

    #[test]
    fn what_is_no_regular_file_is_refused() {
        let (reader, _writer) = io::pipe().unwrap();
        assert!(rest(reader.into(), 0, 1).is_err());
    }
}
