//! The memory that the C library's allocator has.
#![expect(unsafe_code, reason = "see the module above")]

/// Gives memory that is free, wherever it lies in the heap, back to the kernel. Where the C library is not glibc, nothing
/// happens: others do so by themselves.
pub fn give_back_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes the locks of the allocator that it needs, and changes nothing that is allocated.
    unsafe {
        libc::malloc_trim(0);
    }
}
