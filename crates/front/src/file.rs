//! The rest of an answer that lies in a file: read here, so that no thread of the application waits for a slow client.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use exchange::Extent;
use rustix::io::{ReadWriteFlags, preadv2};
use tokio::task::JoinHandle;

/// Bytes that are read at once: much more would be held for a client that takes little.
const PIECE: usize = 128 * 1024;

/// What is left of a part of a file.
#[derive(Debug)]
pub(crate) struct FileRest {
    file: Arc<File>,
    offset: u64,
    left: u64,
    /// A piece that is on its way from the disk.
    coming: Option<JoinHandle<io::Result<Vec<u8>>>>,
}

impl FileRest {
    /// Nothing is believed of what the thread has said about the file.
    pub(crate) fn open(extent: Extent) -> io::Result<Self> {
        let file = File::from(extent.file);
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is no regular file"));
        }
        Ok(Self {
            file: Arc::new(file),
            offset: extent.offset,
            left: extent.length,
            coming: None,
        })
    }

    /// Bytes that have not been given out.
    pub(crate) fn left(&self) -> u64 {
        self.left
    }

    /// The next piece; an error also when the file has become shorter.
    pub(crate) fn poll_next(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<Option<Bytes>>> {
        if self.left == 0 {
            return Poll::Ready(Ok(None));
        }
        let piece = match &mut self.coming {
            Some(coming) => {
                let piece = ready!(Pin::new(coming).poll(context));
                self.coming = None;
                piece.map_err(io::Error::other)??
            }
            None => match self.read_cached()? {
                Some(piece) => piece,
                None => {
                    self.coming = Some(self.read_from_disk());
                    return self.poll_next(context);
                }
            },
        };
        if piece.is_empty() {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        self.offset += piece.len() as u64;
        self.left -= piece.len() as u64;
        Poll::Ready(Ok(Some(piece.into())))
    }

    fn piece(&self) -> Vec<u8> {
        vec![0; usize::try_from(self.left).map_or(PIECE, |left| left.min(PIECE))]
    }

    /// Reads what is in memory; nothing when the disk would have to be waited for, and every connection with it.
    fn read_cached(&self) -> io::Result<Option<Vec<u8>>> {
        let mut piece = self.piece();
        let mut slices = [IoSliceMut::new(&mut piece)];
        match preadv2(
            &*self.file,
            &mut slices,
            self.offset,
            ReadWriteFlags::NOWAIT,
        ) {
            Ok(length) => {
                piece.truncate(length);
                Ok(Some(piece))
            }
            // Some file systems do not know the question.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Unsupported
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn read_from_disk(&self) -> JoinHandle<io::Result<Vec<u8>>> {
        let (file, offset, mut piece) = (Arc::clone(&self.file), self.offset, self.piece());
        tokio::task::spawn_blocking(move || {
            let length = file.read_at(&mut piece, offset)?;
            piece.truncate(length);
            Ok(piece)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::fd::OwnedFd;

    fn rest(file: OwnedFd, offset: u64, length: u64) -> io::Result<FileRest> {
        FileRest::open(Extent {
            file,
            offset,
            length,
        })
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
                Ok(Some(piece)) => all.extend_from_slice(&piece),
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
            assert_eq!(
                (&*read, kind),
                (&b"short"[..], Err(io::ErrorKind::UnexpectedEof))
            );
        }
    }

    #[test]
    fn what_is_no_regular_file_is_refused() {
        let (reader, _writer) = io::pipe().unwrap();
        assert!(rest(reader.into(), 0, 1).is_err());
    }
}
