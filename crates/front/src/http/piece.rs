//! The pieces in which the body of a response comes.

use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use crate::disk::DiskFile;

/// What comes next of a body.
#[derive(Debug)]
pub(crate) enum Piece {
    Bytes(Vec<u8>),
    File(FilePiece),
    /// That was all.
    End,
    /// What has come is not all that there was to be.
    Broken,
}

/// A piece of a file that is in the page cache, or was when it was looked at.
#[derive(Debug)]
pub(crate) struct FilePiece {
    pub(crate) file: Arc<DiskFile>,
    pub(crate) offset: u64,
    pub(crate) length: usize,
}

impl FilePiece {
    /// Its bytes in memory.
    ///
    /// # Errors
    /// Also when the file has become shorter.
    pub(crate) fn read(mut self) -> io::Result<Vec<u8>> {
        self.read_begin(usize::MAX)
    }

    /// At most so many of its bytes, which are no part of it afterwards.
    ///
    /// # Errors
    /// Also when the file has become shorter.
    pub(crate) fn read_begin(&mut self, most: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; self.length.min(most)];
        self.file.file().read_exact_at(&mut bytes, self.offset)?;
        self.offset += bytes.len() as u64;
        self.length -= bytes.len();
        Ok(bytes)
    }
}
