//! What the C library's allocator does with memory that is given back to it.

/// Bytes up to which blocks are kept for the next who asks.
const KEPT: usize = 4 * 1024 * 1024;

/// Has the allocator keep the memory of bodies and parts of answers, most of which are given back as often as they are
/// taken. glibc returns what is free at the end of its heap to the kernel, from 128 KiB on, and each page that it gets
/// anew costs a fault and is zeroed; it learns from the largest block of its own that has been given back, and keeps
/// twice as much from then on. Other allocators learn nothing.
pub(crate) fn keep() {
    drop(std::hint::black_box(Vec::<u8>::with_capacity(KEPT)));
}
