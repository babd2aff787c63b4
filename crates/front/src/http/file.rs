//! The part of a response that comes from a file. The front sends it, so that no application thread waits for a
//! slow client.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use exchange::Extent;
use rustix::io::{ReadWriteFlags, preadv2};
use tokio::task::JoinHandle;

use super::piece::{FilePiece, Piece};
use crate::disk::DiskFile;

/// Bytes of a piece that is read from the disk into memory.
const PIECE: usize = 256 * 1024;

/// The unsent rest of a part of a file.
#[derive(Debug)]
pub(crate) struct FileBody {
    file: Arc<DiskFile>,
    offset: u64,
    left: u64,
    /// A piece that is being read from the disk.
    coming: Option<JoinHandle<io::Result<Vec<u8>>>>,
}

impl FileBody {
    /// The extent comes from a child and is not trusted, so it is checked.
    pub(super) fn open(extent: Extent) -> io::Result<Self> {
        let file = File::from(extent.file);
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is no regular file"));
        }
        Ok(Self {
            file: Arc::new(file.into()),
            offset: extent.offset,
            left: extent.length,
            coming: None,
        })
    }

    /// A part of a file that the front has written.
    pub(crate) fn new(file: Arc<DiskFile>, offset: u64, left: u64) -> Self {
        Self {
            file,
            offset,
            left,
            coming: None,
        }
    }

    /// Bytes that have not been returned by [`Self::poll_next`].
    pub(super) fn left(&self) -> u64 {
        self.left
    }

    /// The next piece. Fails also when the file has become shorter.
    pub(crate) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Piece>> {
        if self.left == 0 {
            return Poll::Ready(Ok(Piece::End));
        }
        if self.coming.is_none() && !self.is_cached()? {
            self.coming = Some(self.read_from_disk());
        }
        let (length, piece) = match &mut self.coming {
            Some(coming) => {
                let read = ready!(Pin::new(coming).poll(context));
                self.coming = None;
                let bytes = read.map_err(io::Error::other)??;
                (bytes.len(), Piece::Bytes(bytes))
            }
            None => {
                let piece = FilePiece {
                    file: Arc::clone(&self.file),
                    offset: self.offset,
                    length: self.next_length(),
                };
                (piece.length, Piece::File(piece))
            }
        };
        if length == 0 {
            return Poll::Ready(Err(shorter()));
        }
        self.offset += length as u64;
        self.left -= length as u64;
        Poll::Ready(Ok(piece))
    }

    fn next_length(&self) -> usize {
        usize::try_from(self.left).map_or(PIECE, |left| left.min(PIECE))
    }

    /// Whether the next piece is in the page cache, judged by its first and last byte. Reading it from the disk
    /// here would block all connections.
    fn is_cached(&self) -> io::Result<bool> {
        for at in [0, self.next_length() as u64 - 1] {
            let mut byte = [0; 1];
            let mut slices = [IoSliceMut::new(&mut byte)];
            let flags = ReadWriteFlags::NOWAIT;
            match preadv2(&*self.file, &mut slices, self.offset + at, flags) {
                Ok(1) => {}
                Ok(_) => return Err(shorter()),
                Err(error) => match error.kind() {
                    // Some file systems do not support `RWF_NOWAIT`.
                    io::ErrorKind::WouldBlock | io::ErrorKind::Unsupported => return Ok(false),
                    _ => return Err(error.into()),
                },
            }
        }
        Ok(true)
    }

    fn read_from_disk(&self) -> JoinHandle<io::Result<Vec<u8>>> {
        let (file, offset) = (Arc::clone(&self.file), self.offset);
        let length = self.next_length();
        tokio::task::spawn_blocking(move || {
            // Allocated on the thread, because many reads may wait for a thread.
            let mut piece = vec![0; length];
            let length = file.file().read_at(&mut piece, offset)?;
            piece.truncate(length);
            Ok(piece)
        })
    }
}

/// The error for a file that ends before the part does.
fn shorter() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "it has become shorter")
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::OwnedFd;

    use super::*;

    fn body(file: OwnedFd, offset: u64, length: u64) -> io::Result<FileBody> {
        FileBody::open(Extent {
            file,
            offset,
            length,
        })
    }

    /// Reads all pieces, and returns them with the final result.
    fn read(mut body: FileBody, from_disk: bool) -> (Vec<u8>, io::Result<()>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let mut all = Vec::new();
        loop {
            if from_disk && body.left > 0 {
                let _runtime = runtime.enter();
                body.coming = Some(body.read_from_disk());
            }
            let next = std::future::poll_fn(|context| body.poll_next(context));
            let bytes = match runtime.block_on(next) {
                Ok(Piece::Bytes(bytes)) if from_disk => Ok(bytes),
                Ok(Piece::File(piece)) if !from_disk => piece.read(),
                Ok(Piece::End) => return (all, Ok(())),
                Ok(piece) => panic!("{piece:?}"),
                Err(error) => Err(error),
            };
            match bytes {
                Ok(bytes) => all.extend_from_slice(&bytes),
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
            let body = body(file.into(), 5, (2 * PIECE) as u64).unwrap();
            let (read, end) = read(body, from_disk);
            assert!(end.is_ok() && read == bytes[5..5 + 2 * PIECE], "{end:?}");
        }
    }

    #[test]
    fn a_file_that_has_become_shorter_is_an_error() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"short").unwrap();
        for from_disk in [false, true] {
            let file = file.try_clone().unwrap();
            let (read, end) = read(body(file.into(), 0, 6).unwrap(), from_disk);
            let kind = end.map_err(|error| error.kind());
            let expected = if from_disk { &b"short"[..] } else { b"" };
            assert_eq!(
                (&*read, kind),
                (expected, Err(io::ErrorKind::UnexpectedEof))
            );
        }
        let mut body = body(file.try_clone().unwrap().into(), 0, 5).unwrap();
        let next = body.poll_next(&mut Context::from_waker(std::task::Waker::noop()));
        let Poll::Ready(Ok(Piece::File(piece))) = next else {
            panic!("{next:?}");
        };
        file.set_len(0).unwrap();
        let end = piece.read().map_err(|error| error.kind());
        assert_eq!(end, Err(io::ErrorKind::UnexpectedEof));
    }

    #[test]
    fn other_than_regular_files_are_refused() {
        let (reader, _writer) = io::pipe().unwrap();
        assert!(body(reader.into(), 0, 1).is_err());
    }
}
