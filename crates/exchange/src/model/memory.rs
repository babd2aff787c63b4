//! Under the model checker: the tables that `layout.rs` maps, as loom's atomics, and bytes of whose uses loom is told.
#![expect(
    unsafe_code,
    reason = "loom's cells are not Sync; nothing is read or written through their pointers"
)]

use std::io;
use std::sync::Mutex;

use loom::cell::UnsafeCell;

use crate::places::{
    BLOCK, BLOCKS, ChildPlace, Geometry, Header, INLINE, RING, SlotPlace, ThreadPlace,
};
use crate::slot_state::AtomicSlotState;
use crate::sync::AtomicU64;

/// The tables of the mapping.
#[derive(Debug)]
pub(crate) struct Mapping {
    header: Header,
    dirty: Vec<AtomicU64>,
    states: Vec<AtomicSlotState>,
    entries: Vec<AtomicU64>,
    slots: Vec<SlotPlace>,
    children: Vec<ChildPlace>,
    threads: Vec<ThreadPlace>,
    inline: Vec<Bytes>,
    blocks: Vec<Bytes>,
    rings: Vec<Bytes>,
}

impl Mapping {
    pub(crate) fn create(geometry: Geometry) -> io::Result<Self> {
        let (slots, threads) = (geometry.slots(), geometry.all_threads());
        Ok(Self {
            header: Header::default(),
            dirty: many(geometry.dirty_words()),
            states: many(slots),
            entries: many(geometry.entries()),
            slots: many(slots),
            children: many(usize::from(geometry.children)),
            threads: many(threads),
            inline: (0..slots).map(|_| Bytes::new(INLINE, INLINE)).collect(),
            blocks: (0..BLOCKS).map(|_| Bytes::new(BLOCK, BLOCK)).collect(),
            // The writer and the reader of a ring use different parts of it at the same time.
            rings: (0..threads).map(|_| Bytes::new(RING, 8)).collect(),
        })
    }

    pub(crate) fn header(&self) -> &Header {
        &self.header
    }

    pub(crate) fn dirty(&self) -> &[AtomicU64] {
        &self.dirty
    }

    pub(crate) fn states(&self) -> &[AtomicSlotState] {
        &self.states
    }

    pub(crate) fn entries(&self) -> &[AtomicU64] {
        &self.entries
    }

    pub(crate) fn slots(&self) -> &[SlotPlace] {
        &self.slots
    }

    pub(crate) fn children(&self) -> &[ChildPlace] {
        &self.children
    }

    pub(crate) fn threads(&self) -> &[ThreadPlace] {
        &self.threads
    }

    pub(crate) fn block_count(&self) -> usize {
        self.blocks.len()
    }

    pub(crate) fn inline(&self, slot: usize) -> Area<'_> {
        Area(&self.inline[slot])
    }

    pub(crate) fn block(&self, block: usize) -> Area<'_> {
        Area(&self.blocks[block])
    }

    pub(crate) fn ring(&self, thread: usize) -> Area<'_> {
        Area(&self.rings[thread])
    }
}

fn many<T: Default>(count: usize) -> Vec<T> {
    (0..count).map(|_| T::default()).collect()
}

/// Bytes that are copied in and out. Loom is told of each use of a part, and fails when one is written while another thread
/// may use it.
#[derive(Debug)]
struct Bytes {
    parts: Vec<UnsafeCell<()>>,
    size_of_part: usize,
    /// Without contention: loom runs one thread at a time, and changes to another only at an atomic operation.
    bytes: Mutex<Vec<u8>>,
}

// SAFETY: nothing is read or written through a cell's pointer; the bytes are behind a lock.
unsafe impl Sync for Bytes {}

impl Bytes {
    fn new(size: usize, size_of_part: usize) -> Self {
        Self {
            parts: (0..size / size_of_part)
                .map(|_| UnsafeCell::new(()))
                .collect(),
            size_of_part,
            bytes: Mutex::new(vec![0; size]),
        }
    }

    /// The parts that have these bytes.
    fn parts(&self, at: usize, length: usize) -> &[UnsafeCell<()>] {
        let end = (at + length).div_ceil(self.size_of_part);
        &self.parts[(at / self.size_of_part).min(end)..end]
    }
}

/// Bytes of the mapping. They are copied, never borrowed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Area<'a>(&'a Bytes);

impl Area<'_> {
    pub(crate) fn copy_in(&self, at: usize, bytes: &[u8]) {
        for part in self.0.parts(at, bytes.len()) {
            part.with_mut(|_| ());
        }
        let mut target = self.0.bytes.lock().expect("no thread panics with it");
        target[at..at + bytes.len()].copy_from_slice(bytes);
    }

    pub(crate) fn copy_out(&self, at: usize, length: usize, out: &mut Vec<u8>) {
        let start = out.len();
        out.resize(start + length, 0);
        self.fill(at, &mut out[start..]);
    }

    pub(crate) fn fill(&self, at: usize, out: &mut [u8]) {
        for part in self.0.parts(at, out.len()) {
            part.with(|_| ());
        }
        let source = self.0.bytes.lock().expect("no thread panics with it");
        out.copy_from_slice(&source[at..at + out.len()]);
    }
}
