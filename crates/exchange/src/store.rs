//! The bytes of a request in its slot: the first ones in the slot itself, the rest in blocks.

use std::ops::Range;

use crate::codec::Malformed;
use crate::layout::{Area, Mapping};
use crate::places::{BLOCK, BLOCKS_PER_SLOT, INLINE};
use crate::sync::Ordering;

/// The most bytes that one request may have in the exchange, with its body if that is in memory.
pub const MAX_REQUEST: usize = INLINE + BLOCKS_PER_SLOT * BLOCK;

/// How many blocks a request of so many bytes takes.
pub(crate) fn blocks_for(length: usize) -> usize {
    length.saturating_sub(INLINE).div_ceil(BLOCK)
}

/// Writes a request, of which the second piece is the body, into a slot that is not queued yet. `blocks` are as many as
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
    let [head, body] =
        pieces.map(|piece| u32::try_from(piece.len()).expect("the caller keeps to MAX_REQUEST"));
    place.length.store(head + body, Ordering::Relaxed);
    place.head.store(head, Ordering::Relaxed);
}

/// Copies a slot's request into `out`, which is emptied before: all of it when it lies in the slot itself, else without its
/// body, which [`read_body`] copies to where it is used.
pub(crate) fn read(mapping: &Mapping, slot: u32, out: &mut Vec<u8>) -> Result<(), Malformed> {
    out.clear();
    let (head, length) = lengths(mapping, slot)?;
    let wanted = if length <= INLINE { length } else { head };
    pieces(mapping, slot, 0..wanted, |area, place| {
        area.copy_out(place.start, place.len(), out);
    })
}

/// Copies a body that [`read`] has left out into `out`, which has as many bytes as the body.
pub(crate) fn read_body(mapping: &Mapping, slot: u32, out: &mut [u8]) -> Result<(), Malformed> {
    let (head, length) = lengths(mapping, slot)?;
    if length - head != out.len() {
        return Err(Malformed);
    }
    let mut filled = 0;
    pieces(mapping, slot, head..length, |area, place| {
        let end = filled + place.len();
        area.fill(place.start, &mut out[filled..end]);
        filled = end;
    })
}

/// How many bytes a slot's request has without its body, and in all.
fn lengths(mapping: &Mapping, slot: u32) -> Result<(usize, usize), Malformed> {
    let place = mapping.slots().get(slot as usize).ok_or(Malformed)?;
    let [head, length] =
        [&place.head, &place.length].map(|bytes| bytes.load(Ordering::Relaxed) as usize);
    (head <= length && length <= MAX_REQUEST)
        .then_some((head, length))
        .ok_or(Malformed)
}

/// Visits the pieces in which these bytes of a slot's request lie, in order.
fn pieces(
    mapping: &Mapping,
    slot: u32,
    wanted: Range<usize>,
    mut visit: impl FnMut(Area<'_>, Range<usize>),
) -> Result<(), Malformed> {
    let place = &mapping.slots()[slot as usize];
    let mut at = wanted.start;
    while at < wanted.end {
        let (area, start, size) = if at < INLINE {
            (mapping.inline(slot as usize), at, INLINE)
        } else {
            let block = place.blocks[(at - INLINE) / BLOCK].load(Ordering::Relaxed) as usize;
            if block >= mapping.block_count() {
                return Err(Malformed);
            }
            (mapping.block(block), (at - INLINE) % BLOCK, BLOCK)
        };
        let end = size.min(start + wanted.end - at);
        visit(area, start..end);
        at += end - start;
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
