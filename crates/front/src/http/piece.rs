//! The pieces of a response's body.

use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use crate::disk::DiskFile;

/// The next piece of a body.
#[derive(Debug)]
pub(crate) enum Piece {
    Bytes(Vec<u8>),
    File(FilePiece),
    /// The body is complete.
    End,
    /// The body breaks off before its end.
    Broken,
}

/// A piece of a file that is in the page cache, or was when this was checked.
#[derive(Debug)]
pub(crate) struct FilePiece {
    pub(crate) file: Arc<DiskFile>,
    pub(crate) offset: u64,
    pub(crate) length: usize,
}

impl FilePiece {
    /// Reads the piece into memory.
    ///
    /// # Errors
    /// Fails also when the file has become shorter.
    pub(crate) fn read(mut self) -> io::Result<Vec<u8>> {
        self.read_begin(usize::MAX)
    }

    /// Reads at most `most` bytes and removes them from the piece.
    ///
    /// # Errors
    /// Fails also when the file has become shorter.
    pub(crate) fn read_begin(&mut self, most: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; self.length.min(most)];
        self.file.file().read_exact_at(&mut bytes, self.offset)?;
        self.offset += bytes.len() as u64;
        self.length -= bytes.len();
        Ok(bytes)
    }
}
