//! The mapping: which table is at which offset. Pointers into it are handled in this file alone.
//!
//! What is shared is either an atomic (all-zero bytes are its valid initial value), or plain bytes, which are copied in and
//! out within checked bounds and never borrowed.
#![expect(
    unsafe_code,
    reason = "a shared mapping is made of pointers; they stay in this file"
)]

use std::io;
use std::ptr::NonNull;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap};

use crate::places::{
    BLOCK, BLOCKS, ChildPlace, Geometry, Header, INLINE, RING, SlotPlace, ThreadPlace,
};
use crate::slot_state::{AtomicSlotState, MAX_CHILDREN};
use crate::sync::AtomicU64;

/// A slot's bytes keep this distance, not a power of two, so that neighbours do not share cache sets.
const INLINE_STRIDE: usize = INLINE + 64;

/// The shared memory. It is never unmapped, and inherited by every process forked from this one.
#[derive(Debug)]
pub(crate) struct Mapping {
    base: NonNull<u8>,
    length: usize,
    places: Places,
}

// SAFETY: the mapping is never moved or unmapped, and everything in it is atomic or copied by `Area` in whole bytes.
unsafe impl Send for Mapping {}
// SAFETY: as above; no method hands out a reference to anything that is not atomic.
unsafe impl Sync for Mapping {}

/// Offset and count of each table.
#[derive(Clone, Copy, Debug)]
struct Places {
    dirty: (usize, usize),
    states: (usize, usize),
    entries: (usize, usize),
    slots: (usize, usize),
    children: (usize, usize),
    threads: (usize, usize),
    inline: (usize, usize),
    blocks: (usize, usize),
    rings: (usize, usize),
    end: usize,
}

impl Places {
    fn of(geometry: Geometry) -> Self {
        let children = usize::from(geometry.children);
        let (threads, slots) = (geometry.all_threads(), geometry.slots());
        let mut at = size_of::<Header>();
        let mut place = |count: usize, bytes: usize, align: usize| {
            let start = at.next_multiple_of(align);
            at = start + count * bytes;
            (start, count)
        };
        const LINE: usize = 64;
        const PAGE: usize = 4096;
        let dirty = place(geometry.dirty_words(), size_of::<AtomicU64>(), LINE);
        let states = place(slots, size_of::<AtomicSlotState>(), LINE);
        let entries = place(geometry.entries(), size_of::<AtomicU64>(), LINE);
        let slots_ = place(slots, size_of::<SlotPlace>(), LINE);
        let children = place(children, size_of::<ChildPlace>(), LINE);
        let threads_ = place(threads, size_of::<ThreadPlace>(), LINE);
        let inline = place(slots, INLINE_STRIDE, LINE);
        let blocks = place(BLOCKS, BLOCK, PAGE);
        let rings = place(threads, RING, PAGE);
        Self {
            dirty,
            states,
            entries,
            slots: slots_,
            children,
            threads: threads_,
            inline,
            blocks,
            rings,
            end: at,
        }
    }
}

impl Mapping {
    pub(crate) fn create(geometry: Geometry) -> io::Result<Self> {
        if geometry.children > MAX_CHILDREN || geometry.children == 0 || geometry.threads == 0 {
            let wrong = format!(
                "{} children of {} threads",
                geometry.children, geometry.threads
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, wrong));
        }
        let places = Places::of(geometry);
        // /proc/PID/maps shows the mapping as `memfd:rwsgi-exchange`.
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let memory = memfd_create("rwsgi-exchange", flags)?;
        ftruncate(&memory, places.end as u64)?;
        // Touching a mapped page that another process has truncated away kills by SIGBUS. The descriptor is closed below, but
        // the memory may be opened again by /proc/PID/map_files.
        fcntl_add_seals(
            &memory,
            SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL,
        )?;
        // SAFETY: a new mapping at an address of the kernel's choice, of a file that we have just made that long.
        let base = unsafe {
            mmap(
                std::ptr::null_mut(),
                places.end,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                &memory,
                0,
            )
        }?;
        let base = NonNull::new(base.cast::<u8>()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self {
            base,
            length: places.end,
            places,
        })
    }

    pub(crate) fn header(&self) -> &Header {
        // SAFETY: the mapping begins, page-aligned, with the header, which is valid as zeros and only has atomics
        // and padding that is never read or written.
        unsafe { self.base.cast::<Header>().as_ref() }
    }

    /// A bit for each thread whose ring has something new.
    pub(crate) fn dirty(&self) -> &[AtomicU64] {
        self.table(self.places.dirty)
    }

    pub(crate) fn states(&self) -> &[AtomicSlotState] {
        self.table(self.places.states)
    }

    pub(crate) fn entries(&self) -> &[AtomicU64] {
        self.table(self.places.entries)
    }

    pub(crate) fn slots(&self) -> &[SlotPlace] {
        self.table(self.places.slots)
    }

    pub(crate) fn children(&self) -> &[ChildPlace] {
        self.table(self.places.children)
    }

    pub(crate) fn threads(&self) -> &[ThreadPlace] {
        self.table(self.places.threads)
    }

    pub(crate) fn block_count(&self) -> usize {
        self.places.blocks.1
    }

    /// The bytes of a slot.
    pub(crate) fn inline(&self, slot: usize) -> Area<'_> {
        self.area(self.places.inline, slot, INLINE_STRIDE, INLINE)
    }

    /// The bytes of a block.
    pub(crate) fn block(&self, block: usize) -> Area<'_> {
        self.area(self.places.blocks, block, BLOCK, BLOCK)
    }

    /// The bytes of a thread's ring.
    pub(crate) fn ring(&self, thread: usize) -> Area<'_> {
        self.area(self.places.rings, thread, RING, RING)
    }

    /// A table of `Places`, as atomics.
    fn table<T: SharedAtomics>(&self, (start, count): (usize, usize)) -> &[T] {
        debug_assert!(
            start + count * size_of::<T>() <= self.length && start.is_multiple_of(align_of::<T>())
        );
        // SAFETY: `Places::of` has laid `count` of them at `start`, aligned, before `end`, which is the mapping's length.
        let first = unsafe { self.base.add(start) }.cast::<T>();
        // SAFETY: as above; T consists of atomics (`SharedAtomics`), valid as zeros and shareable with other processes.
        unsafe { std::slice::from_raw_parts(first.as_ptr(), count) }
    }

    fn area(
        &self,
        (start, count): (usize, usize),
        index: usize,
        stride: usize,
        length: usize,
    ) -> Area<'_> {
        assert!(index < count, "index {index} of {count}");
        debug_assert!(start + count * stride <= self.length);
        // SAFETY: `index < count`, and `Places::of` has laid `count` strides at `start` within the mapping.
        let base = unsafe { self.base.add(start + index * stride) };
        Area {
            base,
            length,
            mapping: std::marker::PhantomData,
        }
    }
}

/// Marks the types of which the mapping's tables consist.
///
/// # Safety
/// `repr(C)`, made of atomics (or padding) alone, valid as zeros.
pub(crate) unsafe trait SharedAtomics {}
// SAFETY: an atomic.
unsafe impl SharedAtomics for AtomicU64 {}
// SAFETY: `repr(C)`, one atomic.
unsafe impl SharedAtomics for AtomicSlotState {}
// SAFETY: `repr(C)`, atomics alone.
unsafe impl SharedAtomics for SlotPlace {}
// SAFETY: `repr(C)`, atomics alone.
unsafe impl SharedAtomics for ChildPlace {}
// SAFETY: `repr(C)`, atomics alone.
unsafe impl SharedAtomics for ThreadPlace {}

/// Bytes of the mapping. They are copied, never borrowed: another process may write them at any time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Area<'a> {
    base: NonNull<u8>,
    length: usize,
    mapping: std::marker::PhantomData<&'a Mapping>,
}

impl Area<'_> {
    /// Copies `bytes` to `at`.
    pub(crate) fn copy_in(&self, at: usize, bytes: &[u8]) {
        assert!(
            at <= self.length && bytes.len() <= self.length - at,
            "{} bytes at {at} of {}",
            bytes.len(),
            self.length
        );
        // SAFETY: `at` is within the area by the assertion.
        let target = unsafe { self.base.add(at) };
        // SAFETY: the assertion has bounded the target; `bytes` is Rust's own memory, so the two cannot overlap.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), target.as_ptr(), bytes.len()) };
    }

    /// Appends `length` bytes from `at` to `out`.
    pub(crate) fn copy_out(&self, at: usize, length: usize, out: &mut Vec<u8>) {
        assert!(
            at <= self.length && length <= self.length - at,
            "{length} bytes at {at} of {}",
            self.length
        );
        out.reserve(length);
        // SAFETY: `at` is within the area by the assertion.
        let source = unsafe { self.base.add(at) };
        // SAFETY: `reserve` made room for `length` bytes after the vector's last.
        let target = unsafe { out.as_mut_ptr().add(out.len()) };
        // SAFETY: the assertion has bounded the source, `reserve` the target; the vector is Rust's own memory.
        unsafe { std::ptr::copy_nonoverlapping(source.as_ptr(), target, length) };
        // SAFETY: these `length` bytes have just been written.
        unsafe { out.set_len(out.len() + length) };
    }

    /// Fills `out` with the bytes from `at`.
    pub(crate) fn fill(&self, at: usize, out: &mut [u8]) {
        assert!(
            at <= self.length && out.len() <= self.length - at,
            "{} bytes at {at} of {}",
            out.len(),
            self.length
        );
        // SAFETY: `at` is within the area by the assertion.
        let source = unsafe { self.base.add(at) };
        // SAFETY: the assertion has bounded the source; `out` is Rust's own memory, so the two cannot overlap.
        unsafe { std::ptr::copy_nonoverlapping(source.as_ptr(), out.as_mut_ptr(), out.len()) };
    }
}
