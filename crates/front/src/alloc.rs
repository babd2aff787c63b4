//! Settings of the C library's allocator, and return of free memory to the kernel.

use std::rc::Rc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::context::Context;

/// Blocks up to this size, in bytes, are kept by the allocator when freed.
const KEPT: usize = 4 * 1024 * 1024;
/// How long memory is kept after a connection has ended, since clients may soon come back.
const KEEP_FOR: Duration = Duration::from_secs(10);

/// Makes glibc keep the memory of bodies and responses, which is freed as often as it is allocated. By default it
/// returns free memory at the end of its heap to the kernel, from 128 KiB on, and each page that it gets again
/// costs a page fault and zeroing. glibc raises this threshold to twice the size of the largest `mmap`ed block that
/// was freed. Other allocators ignore this.
pub(crate) fn keep() {
    drop(std::hint::black_box(Vec::<u8>::with_capacity(KEPT)));
}

/// Returns free memory to the kernel after connections have ended. The allocator alone only returns the end of its
/// heap, where one long-lived block keeps all the memory before it.
pub(crate) async fn give_back(context: Rc<Context>, give_back_memory: fn()) {
    loop {
        context.ended.notified().await;
        sleep(KEEP_FOR).await;
        // On another thread, because it takes milliseconds for a large heap.
        let _ = spawn_blocking(give_back_memory).await;
    }
}
