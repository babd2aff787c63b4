//! The body of a request, kept until a thread takes the request: in memory up to a limit, then in an unlinked temporary
//! file.

use std::fmt;
use std::mem;
use std::sync::Arc;

use tracing::error;

use crate::disk::{Disk, DiskFile};

/// Bytes of a body that are kept in memory.
pub(crate) const IN_MEMORY: usize = 128 * 1024;

/// A whole body.
#[derive(Debug)]
pub(crate) enum Body {
    Memory(Vec<u8>),
    /// A file and how many bytes it holds; read from its beginning.
    File(Arc<DiskFile>, u64),
}

/// The body could not be stored, which has been logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoStorage;

/// A body that is being read.
#[derive(Debug, Default)]
pub(crate) struct Spool {
    memory: Vec<u8>,
    file: Option<Arc<DiskFile>>,
    length: u64,
}

impl Body {
    pub(crate) fn empty() -> Self {
        Self::Memory(Vec::new())
    }

    /// Where the application finds it.
    pub(crate) fn place(&self) -> exchange::Body<'_> {
        match self {
            Self::Memory(bytes) => exchange::Body::Memory(bytes),
            Self::File(_, size) => exchange::Body::File(*size),
        }
    }

    /// The same body in a file.
    pub(crate) async fn into_file(self, disk: &Disk) -> Result<Self, NoStorage> {
        match self {
            Self::Memory(mut memory) => {
                let mut spool = Spool::default();
                spool.write(&mut memory, disk).await?;
                Ok(spool.finish())
            }
            Self::File(..) => Ok(self),
        }
    }
}

impl Spool {
    /// Bytes that it holds.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Adds what has come, and leaves `data` empty.
    pub(crate) async fn push(&mut self, data: &mut Vec<u8>, disk: &Disk) -> Result<(), NoStorage> {
        if self.file.is_none() && self.memory.len() + data.len() <= IN_MEMORY {
            self.length += data.len() as u64;
            self.memory.append(data);
            return Ok(());
        }
        if !self.memory.is_empty() {
            let mut memory = mem::take(&mut self.memory);
            self.length = 0;
            self.write(&mut memory, disk).await?;
        }
        self.write(data, disk).await
    }

    /// Writes this behind what the file holds.
    async fn write(&mut self, data: &mut Vec<u8>, disk: &Disk) -> Result<(), NoStorage> {
        let bytes = mem::take(data);
        let (mut bytes, written) = disk.write(self.file.take(), self.length, bytes).await;
        self.file = Some(written.map_err(|error| NoStorage::log(&error, disk))?);
        self.length += bytes.len() as u64;
        bytes.clear();
        *data = bytes;
        Ok(())
    }

    /// The whole body.
    pub(crate) fn finish(self) -> Body {
        match self.file {
            None => Body::Memory(self.memory),
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

    fn bytes(body: Body) -> (bool, Vec<u8>) {
        match body {
            Body::Memory(bytes) => (false, bytes),
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
            let (mut spool, mut sent) = (Spool::default(), Vec::new());
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
    async fn a_body_in_memory_becomes_a_file() {
        let disk = Disk::new(None, 1 << 20);
        let body = Body::Memory(b"body".to_vec());
        let body = body.into_file(&disk).await.unwrap();
        let body = body.into_file(&disk).await.unwrap();
        assert_eq!(bytes(body), (true, b"body".to_vec()));
    }
}
