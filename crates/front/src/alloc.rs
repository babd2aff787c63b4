//! What the C library's allocator does with memory that is given back to it.

use std::rc::Rc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::context::Context;

/// Bytes up to which blocks are kept for the next who asks.
const KEPT: usize = 4 * 1024 * 1024;
/// How long memory is kept for those who come again after a connection has ended.
const SOON: Duration = Duration::from_secs(10);

/// Has the allocator keep the memory of bodies and parts of answers, most of which are given back as often as they are
/// taken. glibc returns what is free at the end of its heap to the kernel, from 128 KiB on, and each page that it gets
/// anew costs a fault and is zeroed; it learns from the largest block of its own that has been given back, and keeps
/// twice as much from then on. Other allocators learn nothing.
pub(crate) fn keep() {
    drop(std::hint::black_box(Vec::<u8>::with_capacity(KEPT)));
}

/// Gives the kernel back what is free after connections have ended: by itself, the allocator only does so with the end of its
/// heap, where one block that lives long keeps all before it.
pub(crate) async fn give_back(context: Rc<Context>, give_back_memory: fn()) {
    loop {
        context.ended.notified().await;
        sleep(SOON).await;
        // Another thread, since it takes milliseconds for a large heap.
        let _ = spawn_blocking(give_back_memory).await;
    }
}
