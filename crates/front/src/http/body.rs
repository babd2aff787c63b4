//! The body of a request, buffered until a thread takes the request: in memory up to a limit, then in an unlinked
//! temporary file.

use std::fmt;
use std::mem;
use std::sync::Arc;

use tracing::error;

use crate::disk::{Disk, DiskFile};
use crate::memory::Share;

/// Bytes of a body that are kept in memory.
pub(crate) const IN_MEMORY: usize = 128 * 1024;
/// Bytes that are collected before they are stored, if there is memory for them.
const COLLECTED: usize = 64 * 1024;

/// A whole body.
#[derive(Debug)]
pub(crate) enum Body {
    Empty,
    Memory(Vec<u8>, Share),
    /// A file and its length in bytes; the body starts at offset 0.
    File(Arc<DiskFile>, u64),
}

/// The body could not be stored, which has been logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoStorage;

/// A body that is being read.
#[derive(Debug)]
pub(crate) struct Spool {
    /// Its share of the memory for all bodies and responses.
    share: Share,
    memory: Vec<u8>,
    file: Option<Arc<DiskFile>>,
    length: u64,
}

impl Body {
    /// How the body is passed to the application.
    pub(crate) fn place(&self) -> exchange::Body<'_> {
        match self {
            Self::Empty => exchange::Body::Memory(&[]),
            Self::Memory(bytes, _) => exchange::Body::Memory(bytes),
            Self::File(_, size) => exchange::Body::File(*size),
        }
    }

    /// Moves the body into a file.
    pub(crate) async fn into_file(self, disk: &Disk) -> Result<Self, NoStorage> {
        match self {
            Self::Memory(mut memory, share) => {
                let mut spool = Spool::new(share);
                spool.write(&mut memory, disk).await?;
                Ok(spool.finish())
            }
            Self::Empty | Self::File(..) => Ok(self),
        }
    }
}

impl Spool {
    pub(crate) fn new(share: Share) -> Self {
        Self::begun(Vec::new(), share)
    }

    /// Begins with bytes that have already been read.
    pub(crate) fn begun(memory: Vec<u8>, share: Share) -> Self {
        let length = memory.len() as u64;
        Self {
            share,
            memory,
            file: None,
            length,
        }
    }

    /// Whether the collected bytes are to be stored now, instead of collecting more.
    pub(crate) fn is_to_be_stored(&mut self, collected: usize) -> bool {
        let has_room = self.share.hold(self.memory.len() + collected);
        collected >= COLLECTED || !has_room
    }

    /// The bytes stored so far.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Appends `data`, which is empty afterwards.
    pub(crate) async fn push(&mut self, data: &mut Vec<u8>, disk: &Disk) -> Result<(), NoStorage> {
        let bytes = self.memory.len() + data.len();
        let has_room = self.share.hold(bytes);
        if self.file.is_none() && bytes <= IN_MEMORY && has_room {
            self.length += data.len() as u64;
            self.memory.append(data);
            return Ok(());
        }
        if !self.memory.is_empty() {
            let mut memory = mem::take(&mut self.memory);
            self.length = 0;
            self.write(&mut memory, disk).await?;
        }
        if data.is_empty() {
            return Ok(());
        }
        self.write(data, disk).await
    }

    /// Appends to the file, and returns the memory share except what still fits.
    async fn write(&mut self, data: &mut Vec<u8>, disk: &Disk) -> Result<(), NoStorage> {
        let bytes = mem::take(data);
        let (mut bytes, written) = disk.write(self.file.take(), self.length, bytes).await;
        self.file = Some(written.map_err(|error| NoStorage::log(&error, disk))?);
        self.length += bytes.len() as u64;
        if !self.share.exceeds_budget() {
            bytes.clear();
            *data = bytes;
        }
        self.share.hold(self.memory.len());
        Ok(())
    }

    /// Ends the body.
    pub(crate) fn finish(self) -> Body {
        match self.file {
            None if self.memory.is_empty() => Body::Empty,
            None => Body::Memory(self.memory, self.share),
            Some(file) => Body::File(file, self.length),
        }
    }
}

impl NoStorage {
    fn log(error: &std::io::Error, disk: &Disk) -> Self {
        error!(%error, folder = %disk.folder().display(), "cannot store the body of a request");
        Self
    }
}

impl fmt::Display for NoStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the body cannot be stored")
    }
}

impl std::error::Error for NoStorage {}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::memory::{FREE, Memory};

    fn share() -> Share {
        Memory::new(1 << 20).share()
    }

    fn bytes(body: Body) -> (bool, Vec<u8>) {
        match body {
            Body::Empty => (false, Vec::new()),
            Body::Memory(bytes, _) => (false, bytes),
            Body::File(file, length) => {
                let mut bytes = Vec::new();
                file.file().read_to_end(&mut bytes).unwrap();
                assert_eq!(bytes.len() as u64, length);
                (true, bytes)
            }
        }
    }

    #[tokio::test]
    async fn a_body_goes_to_a_file_when_it_is_too_large_for_memory() {
        let disk = Disk::new(None, 1 << 20);
        for (pieces, in_file) in [
            (0, false),
            (1, false),
            (128, false),
            (129, true),
            (300, true),
        ] {
            let (mut spool, mut sent) = (Spool::new(share()), Vec::new());
            for piece in 0..pieces {
                let mut piece = vec![u8::try_from(piece % 251).unwrap(); 1024];
                sent.extend_from_slice(&piece);
                spool.push(&mut piece, &disk).await.unwrap();
                assert!(piece.is_empty());
            }
            assert_eq!(spool.length(), sent.len() as u64);
            assert_eq!(bytes(spool.finish()), (in_file, sent));
        }
    }

    #[tokio::test]
    async fn a_body_goes_to_a_file_when_there_is_no_memory_left() {
        let disk = Disk::new(None, 1 << 20);
        let memory = Memory::new(2 * FREE);
        let (mut one, mut other) = (Spool::new(memory.share()), Spool::new(memory.share()));
        let mut data = vec![1; FREE + 1];
        assert!(!one.is_to_be_stored(data.len()));
        one.push(&mut data, &disk).await.unwrap();
        data.resize(FREE + 1, 2);
        assert!(other.is_to_be_stored(data.len()));
        other.push(&mut data, &disk).await.unwrap();
        assert_eq!(bytes(one.finish()), (false, vec![1; FREE + 1]));
        assert_eq!(bytes(other.finish()), (true, vec![2; FREE + 1]));
        // The share was returned.
        assert!(memory.share().hold(2 * FREE));
    }

    #[tokio::test]
    async fn a_body_in_memory_becomes_a_file() {
        let disk = Disk::new(None, 1 << 20);
        let body = Body::Memory(b"body".to_vec(), share());
        let body = body.into_file(&disk).await.unwrap();
        let body = body.into_file(&disk).await.unwrap();
        assert_eq!(bytes(body), (true, b"body".to_vec()));
    }
}
