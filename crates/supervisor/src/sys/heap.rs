//! The heap of the C library's allocator.
#![expect(unsafe_code, reason = "see the module above")]

/// Returns free memory, wherever it lies in the heap, to the kernel. With another C library than glibc this does
/// nothing.
pub fn give_back_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes the allocator's locks, and does not change allocated memory.
    unsafe {
        libc::malloc_trim(0);
    }
}
