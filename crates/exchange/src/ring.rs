//! The ring into which one thread writes its answers and from which the front reads them: frames, one after another.
//!
//! A frame counts once the writer has moved `written` past it, so a frame of a writer that is killed half-way is not read.

use crate::codec::Malformed;
use crate::ids::RequestId;
use crate::layout::Area;
use crate::places::RING;
use crate::reply::After;

/// Bytes of a frame before its head.
const HEADER: usize = 24;
/// The most bytes of head and data in one frame. A quarter of the ring, so that the front can read one frame while the
/// thread writes the next.
pub(crate) const MAX_PAYLOAD: usize = RING / 4;
/// The most bytes that the head of an answer may have as [`crate::Head::encode`] writes it.
pub const MAX_HEAD: usize = MAX_PAYLOAD;

/// The header of a frame, which stands before its head and its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) request_id: RequestId,
    /// Bytes of the head; 0 in a frame that continues an answer.
    pub(crate) head: usize,
    /// Bytes of the body.
    pub(crate) data: usize,
    pub(crate) after: After,
}

impl Frame {
    /// Bytes of the ring that a frame with so many bytes of payload takes.
    pub(crate) fn size(payload: usize) -> usize {
        HEADER + payload.next_multiple_of(8)
    }

    fn encode(self) -> [u8; HEADER] {
        let number = |n: usize| {
            u32::try_from(n)
                .expect("a payload is at most MAX_PAYLOAD")
                .to_le_bytes()
        };
        let after: u32 = match self.after {
            After::More => 1,
            After::Complete => 2,
            After::Broken => 3,
            After::File => 4,
        };
        let words = [
            number(self.head),
            number(self.data),
            self.request_id.slot.to_le_bytes(),
            self.request_id.seq.to_le_bytes(),
            after.to_le_bytes(),
            [0; 4],
        ];
        let mut bytes = [0; HEADER];
        bytes.copy_from_slice(words.as_flattened());
        bytes
    }

    /// Reads a header; `written` are the bytes of the ring from this frame on.
    fn decode(bytes: &[u8], written: usize) -> Result<Self, Malformed> {
        let word = |n: usize| -> Result<u32, Malformed> {
            let bytes = bytes
                .get(4 * n..4 * n + 4)
                .and_then(|bytes| bytes.try_into().ok())
                .ok_or(Malformed)?;
            Ok(u32::from_le_bytes(bytes))
        };
        let (head, data) = (word(0)? as usize, word(1)? as usize);
        let request_id = RequestId {
            slot: word(2)?,
            seq: word(3)?,
        };
        let after = match word(4)? {
            1 => After::More,
            2 => After::Complete,
            3 => After::Broken,
            4 => After::File,
            _ => return Err(Malformed),
        };
        // Each is bounded before the sum: two large lengths must not wrap around.
        if head > MAX_PAYLOAD
            || data > MAX_PAYLOAD
            || head + data > MAX_PAYLOAD
            || Self::size(head + data) > written
        {
            return Err(Malformed);
        }
        Ok(Self {
            request_id,
            head,
            data,
            after,
        })
    }
}

/// Writes a frame at position `written`, where the caller has made sure of room, and returns by how many bytes the caller
/// is to move `written`.
pub(crate) fn write(ring: Area<'_>, written: u64, frame: Frame, head: &[u8], data: &[u8]) -> usize {
    let mut at = written;
    for bytes in [&frame.encode()[..], head, data] {
        copy_in(ring, at, bytes);
        at = at.wrapping_add(bytes.len() as u64);
    }
    Frame::size(head.len() + data.len())
}

/// The frame at position `read`, if one has been written there.
///
/// A distance to `written` that is shorter than a header or longer than the ring cannot come from frames: then another
/// process has overwritten `written`, and the thread corrects it with its next frame.
pub(crate) fn peek(ring: Area<'_>, read: u64, written: u64) -> Result<Option<Frame>, Malformed> {
    match usize::try_from(written.wrapping_sub(read)) {
        Ok(available @ HEADER..=RING) => {
            let mut header = Vec::with_capacity(HEADER);
            copy_out(ring, read, HEADER, &mut header);
            Frame::decode(&header, available).map(Some)
        }
        _ => Ok(None),
    }
}

/// Head and data of the frame at position `read`.
pub(crate) fn payload(ring: Area<'_>, read: u64, frame: Frame) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(frame.head + frame.data);
    copy_out(
        ring,
        read.wrapping_add(HEADER as u64),
        frame.head + frame.data,
        &mut bytes,
    );
    bytes
}

/// Whether frames can lie between `read` and `written`, or none.
pub(crate) fn is_position(read: u64, written: u64) -> bool {
    matches!(
        usize::try_from(written.wrapping_sub(read)),
        Ok(0 | HEADER..=RING)
    )
}

fn copy_in(ring: Area<'_>, at: u64, bytes: &[u8]) {
    let at = offset(at);
    let (before_the_end, rest) = bytes.split_at(bytes.len().min(RING - at));
    ring.copy_in(at, before_the_end);
    ring.copy_in(0, rest);
}

fn copy_out(ring: Area<'_>, at: u64, length: usize, out: &mut Vec<u8>) {
    let at = offset(at);
    let before_the_end = length.min(RING - at);
    ring.copy_out(at, before_the_end, out);
    ring.copy_out(0, length - before_the_end, out);
}

#[expect(clippy::cast_possible_truncation, reason = "smaller than RING")]
fn offset(position: u64) -> usize {
    (position % RING as u64) as usize
}
