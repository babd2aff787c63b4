//! The state of a slot, with its owner and the number of its request, in one word of 64 bits: one compare-and-swap claims
//! a request and names its owner.

use crate::ids::{ChildId, Owner, RequestId};
use crate::sync::{AtomicU64, Ordering};

/// The state of a slot.
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

/// Child slots that a state can name: 12 bits.
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

    /// `None` for a word that is not written by [`Self::pack`].
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

/// The state as it lies in the mapping, alone on its cache line, so that claims of neighbouring slots do not slow each
/// other down.
#[derive(Debug)]
#[cfg_attr(loom, derive(Default))]
#[repr(C, align(64))]
pub(crate) struct AtomicSlotState(AtomicU64);

impl AtomicSlotState {
    /// The state now; a malformed word reads as free.
    pub(crate) fn read(&self) -> SlotState {
        SlotState::unpack(self.0.load(Ordering::Acquire)).unwrap_or(SlotState::Free(0))
    }

    /// Stores without a comparison: for the front alone, and for slots that no child owns.
    pub(crate) fn write(&self, state: SlotState) {
        self.0.store(state.pack(), Ordering::Release);
    }

    /// Changes `from` to `to`; `false` when the state is no longer `from`.
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
    fn a_state_is_read_as_it_was_written() {
        let owner = Owner {
            child: ChildId {
                slot: MAX_CHILDREN - 1,
                incarnation: 255,
            },
            thread: 255,
        };
        for state in [
            SlotState::Free(7),
            SlotState::Queued(u32::MAX),
            SlotState::Claimed(owner, u32::MAX),
        ] {
            assert_eq!(SlotState::unpack(state.pack()), Some(state));
        }
        assert_eq!(SlotState::unpack(7 << 60), None);
    }

    #[test]
    fn a_request_id_is_unpacked_as_it_was_packed() {
        let request_id = RequestId {
            slot: 0xdead_beef,
            seq: 0x0bad_cafe,
        };
        assert_eq!(RequestId::unpack(request_id.pack()), request_id);
    }
}
