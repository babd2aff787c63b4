//! The body of a request, kept until a thread takes the request: in memory up to a limit, then in an unlinked temporary
//! file.

use std::fmt;
use std::fs::File;
use std::io::{self, Seek, Write};

use tracing::error;

/// Bytes of a body that are kept in memory.
pub(crate) const IN_MEMORY: usize = 128 * 1024;

/// A whole body.
#[derive(Debug)]
pub(crate) enum Body {
    Memory(Vec<u8>),
    /// A file and how many bytes it holds; read from its beginning.
    File(File, u64),
}

/// The body could not be stored, which has been logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoStorage;

/// A body that is being read.
#[derive(Debug, Default)]
pub(crate) struct Spool {
    memory: Vec<u8>,
    file: Option<File>,
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
    pub(crate) fn into_file(self) -> Result<Self, NoStorage> {
        match self {
            Self::Memory(memory) => {
                let mut spool = Spool {
                    length: memory.len() as u64,
                    memory,
                    file: None,
                };
                spool.file().map_err(NoStorage::log)?;
                spool.finish()
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

    /// Adds what has come.
    pub(crate) fn push(&mut self, data: &[u8]) -> Result<(), NoStorage> {
        self.length += data.len() as u64;
        if self.file.is_none() && self.memory.len() + data.len() <= IN_MEMORY {
            self.memory.extend_from_slice(data);
            return Ok(());
        }
        self.file()
            // A write to the page cache: the pauses that it can make are shorter than those of a thread pool's.
            .and_then(|file| file.write_all(data))
            .map_err(NoStorage::log)
    }

    /// The whole body.
    pub(crate) fn finish(self) -> Result<Body, NoStorage> {
        match self.file {
            None => Ok(Body::Memory(self.memory)),
            Some(mut file) => {
                file.rewind().map_err(NoStorage::log)?;
                Ok(Body::File(file, self.length))
            }
        }
    }

    fn file(&mut self) -> io::Result<&mut File> {
        let file = match self.file.take() {
            Some(file) => file,
            None => {
                let mut file = tempfile::tempfile()?;
                file.write_all(&self.memory)?;
                self.memory = Vec::new();
                file
            }
        };
        Ok(self.file.insert(file))
    }
}

impl NoStorage {
    fn log(error: io::Error) -> Self {
        error!(%error, folder = %std::env::temp_dir().display(), "cannot store the body of a request");
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
            Body::File(mut file, length) => {
                let mut bytes = Vec::new();
                file.read_to_end(&mut bytes).unwrap();
                assert_eq!(bytes.len() as u64, length);
                (true, bytes)
            }
        }
    }

    #[test]
    fn a_body_goes_to_a_file_when_it_is_too_large_for_memory() {
        for (pieces, in_file) in [
            (0, false),
            (1, false),
            (128, false),
            (129, true),
            (300, true),
        ] {
            let (mut spool, mut sent) = (Spool::default(), Vec::new());
            for piece in 0..pieces {
                let piece = [u8::try_from(piece % 251).unwrap(); 1024];
                spool.push(&piece).unwrap();
                sent.extend_from_slice(&piece);
            }
            assert_eq!(spool.length(), sent.len() as u64);
            assert_eq!(bytes(spool.finish().unwrap()), (in_file, sent));
        }
    }

    #[test]
    fn a_body_in_memory_becomes_a_file() {
        let body = Body::Memory(b"body".to_vec()).into_file().unwrap();
        assert_eq!(bytes(body.into_file().unwrap()), (true, b"body".to_vec()));
    }
}
