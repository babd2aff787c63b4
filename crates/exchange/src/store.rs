//! The bytes of a request in its slot: the first ones in the slot itself, the rest in blocks.

use crate::layout::{BLOCK, BLOCKS_A_SLOT, INLINE, Mapping};
use crate::sync::Ordering;
use crate::wire::Malformed;

/// The most bytes that one request may have in the exchange, with its body if that is in memory.
pub const MAX_REQUEST: usize = INLINE + BLOCKS_A_SLOT * BLOCK;

/// How many blocks a request of so many bytes takes.
pub(crate) fn blocks_for(length: usize) -> usize {
    length.saturating_sub(INLINE).div_ceil(BLOCK)
}

/// Writes a request into a slot that nobody else looks at yet. `blocks` are as many as [`blocks_for`] says.
pub(crate) fn write(mapping: &Mapping, slot: u32, request: &[u8], blocks: &[u32]) {
    let place = &mapping.slots()[slot as usize];
    let (first, rest) = request.split_at(request.len().min(INLINE));
    mapping.inline(slot as usize).copy_in(0, first);
    for ((chunk, block), cell) in rest.chunks(BLOCK).zip(blocks).zip(&place.blocks) {
        mapping.block(*block as usize).copy_in(0, chunk);
        cell.store(*block, Ordering::Relaxed);
    }
    let length = u32::try_from(request.len()).expect("the caller keeps to MAX_REQUEST");
    place.length.store(length, Ordering::Relaxed);
}

/// Copies a slot's request into `out`, which is emptied before.
pub(crate) fn read(mapping: &Mapping, slot: u32, out: &mut Vec<u8>) -> Result<(), Malformed> {
    out.clear();
    let place = mapping.slots().get(slot as usize).ok_or(Malformed)?;
    let length = place.length.load(Ordering::Relaxed) as usize;
    if length > MAX_REQUEST {
        return Err(Malformed);
    }
    let first = length.min(INLINE);
    mapping.inline(slot as usize).copy_out(0, first, out);
    for block in blocks_of(mapping, slot) {
        if block as usize >= mapping.block_count() {
            return Err(Malformed);
        }
        mapping
            .block(block as usize)
            .copy_out(0, BLOCK.min(length - out.len()), out);
    }
    Ok(())
}

/// The blocks that a slot's request takes.
pub(crate) fn blocks_of(mapping: &Mapping, slot: u32) -> impl Iterator<Item = u32> {
    let place = &mapping.slots()[slot as usize];
    let count = blocks_for(place.length.load(Ordering::Relaxed) as usize);
    place
        .blocks
        .iter()
        .take(count)
        .map(|block| block.load(Ordering::Relaxed))
}
