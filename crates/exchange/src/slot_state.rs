//! The word of a slot: its state, its owner and which request it holds, all in 64 bits, so that one
//! compare-and-swap claims a request and signs the claim.

use crate::ids::{ChildId, Owner, RequestId};
use crate::sync::{AtomicU64, Ordering};

/// What a slot's word says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SlotState {
    /// The front may fill the slot. The number is that of its last request.
    Free(u32),
    /// The request waits for any thread.
    Queued(u32),
    /// The thread has taken the request; only the front, and only when the answer has ended or the child has been
    /// reaped, frees the slot.
    Claimed(Owner, u32),
}

const QUEUED: u64 = 1 << 60;
const CLAIMED: u64 = 2 << 60;
const STATE: u64 = 0xf << 60;

/// Child slots that a word can name: 12 bits.
pub(crate) const MAX_CHILDREN: u16 = 1 << 12;

impl SlotState {
    fn pack(self) -> u64 {
        match self {
            Self::Free(seq) => u64::from(seq),
            Self::Queued(seq) => QUEUED | u64::from(seq),
            Self::Claimed(owner, seq) => {
                let child =
                    u64::from(owner.child.slot) << 48 | u64::from(owner.child.incarnation) << 40;
                CLAIMED | child | u64::from(owner.thread) << 32 | u64::from(seq)
            }
        }
    }

    /// `None` when the word is none that we write.
    fn unpack(word: u64) -> Option<Self> {
        let [s0, s1, s2, s3, thread, incarnation, low, high] = word.to_le_bytes();
        let seq = u32::from_le_bytes([s0, s1, s2, s3]);
        let child = ChildId {
            slot: u16::from_le_bytes([low, high & 0xf]),
            incarnation,
        };
        match word & STATE {
            0 => Some(Self::Free(seq)),
            QUEUED => Some(Self::Queued(seq)),
            CLAIMED => Some(Self::Claimed(Owner { child, thread }, seq)),
            _ => None,
        }
    }
}

/// The word as it lies in the mapping, alone on its cache line: claims of neighbours must not slow each other down.
#[derive(Debug)]
#[cfg_attr(loom, derive(Default))]
#[repr(C, align(64))]
pub(crate) struct AtomicSlotState(AtomicU64);

impl AtomicSlotState {
    /// What the word says now; a word that nobody writes reads as free.
    pub(crate) fn read(&self) -> SlotState {
        SlotState::unpack(self.0.load(Ordering::Acquire)).unwrap_or(SlotState::Free(0))
    }

    /// Only the front writes without asking, and only to slots that no child owns.
    pub(crate) fn write(&self, word: SlotState) {
        self.0.store(word.pack(), Ordering::Release);
    }

    /// One step from `from` to `to`, unless somebody was faster.
    pub(crate) fn change(&self, from: SlotState, to: SlotState) -> bool {
        self.0
            .compare_exchange(from.pack(), to.pack(), Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }
}

impl RequestId {
    pub(crate) fn pack(self) -> u64 {
        u64::from(self.slot) << 32 | u64::from(self.seq)
    }

    pub(crate) fn unpack(entry: u64) -> Self {
        let [s0, s1, s2, s3, t0, t1, t2, t3] = entry.to_le_bytes();
        Self {
            slot: u32::from_le_bytes([t0, t1, t2, t3]),
            seq: u32::from_le_bytes([s0, s1, s2, s3]),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_word_says_what_was_written() {
        let owner = Owner {
            child: ChildId {
                slot: MAX_CHILDREN - 1,
                incarnation: 255,
            },
            thread: 255,
        };
        for word in [
            SlotState::Free(7),
            SlotState::Queued(u32::MAX),
            SlotState::Claimed(owner, u32::MAX),
        ] {
            assert_eq!(SlotState::unpack(word.pack()), Some(word));
        }
        assert_eq!(SlotState::unpack(7 << 60), None);
    }

    #[test]
    fn a_ticket_survives_the_queue() {
        let request_id = RequestId {
            slot: 0xdead_beef,
            seq: 0x0bad_cafe,
        };
        assert_eq!(RequestId::unpack(request_id.pack()), request_id);
    }
}
