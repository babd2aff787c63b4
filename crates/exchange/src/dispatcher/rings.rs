//! Reading the threads' rings: checking each frame and passing it on.

use std::sync::Arc;

use super::{Dispatcher, Part, Sink, Wish};
use crate::codec::Malformed;
use crate::ids::RequestId;
use crate::layout::Area;
use crate::parker::store_load_fence;
use crate::reply::After;
use crate::ring::{self, Frame};
use crate::sync::Ordering;

/// A child whose thread has so often in a row a position that no frames explain is corrupt: frames were written beside
/// those of the thread. Where another process has overwritten the position, the thread corrects it the first time.
const UNEXPLAINED: u8 = 8;

/// What to do with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Yes,
    /// Its request has been given up.
    No,
    /// It is the last of its request, whose slot a former front has freed.
    Freed,
}

impl Dispatcher {
    /// Reads what a thread has written: as far as the sink wants it, or `all`.
    ///
    /// # Errors
    /// When a frame is malformed, or not this thread's to write.
    pub(super) fn read_ring(
        &mut self,
        thread: usize,
        sink: &mut impl Sink,
        all: bool,
    ) -> Result<(), Malformed> {
        let exchange = Arc::clone(&self.exchange);
        let (place, ring) = (
            &exchange.mapping.threads()[thread],
            exchange.mapping.ring(thread),
        );
        let start = self.read[thread];
        let mut read = start;
        let written = place.written.load(Ordering::Acquire);
        while let Some(frame) = ring::peek(ring, read, written)? {
            // A former front may have died between freeing a slot and counting its frame as read: only the first frame can
            // be of such a slot.
            let may_be_freed = self.takes_over && read == start;
            let wanted = self.check(thread, frame, may_be_freed)?;
            let wish = match wanted {
                Wanted::Yes if !all => sink.wish(frame.request_id),
                _ => Wish::More,
            };
            let is_left = match wish {
                Wish::More => false,
                Wish::Later => !ends_within(ring, read, written, frame.request_id)?,
                Wish::Nothing => true,
            };
            if is_left {
                self.stalled.push(thread);
                break;
            }
            let bytes = match wanted {
                Wanted::Yes => ring::payload(ring, read, frame),
                Wanted::No | Wanted::Freed => Vec::new(),
            };
            if frame.head > 0 && wanted != Wanted::Freed {
                self.slots[frame.request_id.slot as usize].has_head = true;
            }
            if frame.after == After::File && wanted == Wanted::Yes {
                // The file was sent before the frame was written. When it cannot be read, the sink finds it missing.
                let _ = self.read_fd_channel(sink);
            }
            // Freed before the frame counts as read: when the front dies in between, the next one reads the frame again and
            // finds the slot free. The other way round, the slot would never be freed.
            if frame.after != After::More && wanted != Wanted::Freed {
                self.free(frame.request_id);
            }
            read = read.wrapping_add(Frame::size(frame.head + frame.data) as u64);
            self.read[thread] = read;
            place.read.store(read, Ordering::Release);
            if wanted == Wanted::Yes {
                sink.part(
                    frame.request_id,
                    Part {
                        bytes,
                        head: frame.head,
                        after: frame.after,
                    },
                );
            }
        }
        // A position that another process has overwritten is corrected here, or by the thread when it is woken.
        let is_explained = ring::is_position(read, written);
        if is_explained {
            self.unexplained[thread] = 0;
        } else {
            self.unexplained[thread] += 1;
            if self.unexplained[thread] == UNEXPLAINED {
                return Err(Malformed);
            }
            // So that it is counted once, unless the thread writes it again.
            let (success, failure) = (Ordering::AcqRel, Ordering::Relaxed);
            let _ = place
                .written
                .compare_exchange(written, read, success, failure);
        }
        let positions_agree = place.read.load(Ordering::Relaxed) == read && is_explained;
        if read != start || !positions_agree {
            place.read.store(read, Ordering::Release);
            store_load_fence();
            place.room.unpark();
        }
        if !is_explained {
            // The thread may also have answered, and be parked for its next request.
            place.parker.unpark();
        }
        Ok(())
    }

    /// Checks that this thread may write this frame, and whether it is still wanted.
    fn check(
        &mut self,
        thread: usize,
        frame: Frame,
        may_be_freed: bool,
    ) -> Result<Wanted, Malformed> {
        let request_id = frame.request_id;
        if !self.holds(request_id) {
            let slot = self.slots.get(request_id.slot as usize);
            let was_held = slot.is_some_and(|slot| slot.seq == request_id.seq);
            return if may_be_freed && was_held && frame.after != After::More {
                Ok(Wanted::Freed)
            } else {
                Err(Malformed)
            };
        }
        let owner = self.owner(request_id).ok_or(Malformed)?;
        if self.exchange.thread_index(owner.child.slot, owner.thread) != thread {
            return Err(Malformed);
        }
        let slot = &self.slots[request_id.slot as usize];
        if frame.head > 0 && slot.has_head {
            return Err(Malformed);
        }
        Ok(if slot.given_up {
            Wanted::No
        } else {
            Wanted::Yes
        })
    }
}

/// Whether the last frame of this answer has been written.
fn ends_within(
    ring: Area<'_>,
    read: u64,
    written: u64,
    request_id: RequestId,
) -> Result<bool, Malformed> {
    let mut at = read;
    while let Some(frame) = ring::peek(ring, at, written)? {
        if frame.request_id != request_id || frame.after != After::More {
            return Ok(true);
        }
        at = at.wrapping_add(Frame::size(frame.head + frame.data) as u64);
    }
    Ok(false)
}
