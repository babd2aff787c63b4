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

/// Writes a request, of which the pieces are parts, into a slot that nobody else looks at yet. `blocks` are as many as
/// [`blocks_for`] says.
pub(crate) fn write(mapping: &Mapping, slot: u32, pieces: [&[u8]; 2], blocks: &[u32]) {
    let place = &mapping.slots()[slot as usize];
    let mut blocks = blocks.iter().zip(&place.blocks);
    let (mut area, mut at, mut room) = (mapping.inline(slot as usize), 0, INLINE);
    for mut piece in pieces {
        while !piece.is_empty() {
            if at == room {
                let (block, cell) = blocks.next().expect("there are as many as it takes");
                cell.store(*block, Ordering::Relaxed);
                (area, at, room) = (mapping.block(*block as usize), 0, BLOCK);
            }
            let (fitting, rest) = piece.split_at(piece.len().min(room - at));
            area.copy_in(at, fitting);
            at += fitting.len();
            piece = rest;
        }
    }
    let length = pieces.map(<[u8]>::len).iter().sum::<usize>();
    let length = u32::try_from(length).expect("the caller keeps to MAX_REQUEST");
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
