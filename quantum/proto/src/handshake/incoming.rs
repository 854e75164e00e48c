//! Handshake bytes of one level on their way in: put in order.
//!
//! Owns what arrived ahead of a gap. Bounded: bytes up to 64 KiB beyond the gap, in at most 256 pieces; the memory is
//! in proportion to what arrived. Of bytes that arrive again the first copy counts.

use std::collections::BTreeMap;

use crate::error::{CloseCode, TransportError};

/// How far beyond the first gap bytes are kept.
pub(super) const WINDOW: u64 = 64 * 1024;
/// How many pieces are kept: an honest peer fills packets, so that the window never holds as many.
pub(super) const MAX_PIECES: usize = 256;

/// The receiving side of a level's byte stream.
#[derive(Default)]
pub(super) struct Incoming {
    /// Bytes before this one were taken.
    taken: u64,
    /// By offset, without overlaps, all at or above `taken`.
    pieces: BTreeMap<u64, Vec<u8>>,
}

impl Incoming {
    /// Bytes arrived.
    ///
    /// # Errors
    /// They lie too far ahead, or leave too many gaps (LIMIT).
    pub(super) fn insert(&mut self, offset: u64, data: &[u8]) -> Result<(), TransportError> {
        let end = offset
            .checked_add(data.len() as u64)
            .filter(|end| *end <= self.taken + WINDOW);
        let end = end.ok_or_else(|| limit("handshake bytes lie too far ahead"))?;
        let mut at = offset.max(self.taken);
        while at < end {
            let before = self.pieces.range(..=at).next_back();
            let known = before.map_or(0, |(start, piece)| start + piece.len() as u64);
            if known > at {
                at = known;
                continue;
            }
            let hole_end = self.pieces.range(at..).next().map_or(end, |(start, _)| end.min(*start));
            // Both lie within `data`: offset <= at < hole_end <= end.
            let fresh = &data[(at - offset) as usize..(hole_end - offset) as usize];
            self.put(at, known, fresh)?;
            at = hole_end;
        }
        Ok(())
    }

    /// Stores bytes that fill a hole; `known` is where the piece before them ends.
    fn put(&mut self, at: u64, known: u64, fresh: &[u8]) -> Result<(), TransportError> {
        if known == at
            && let Some((_, piece)) = self.pieces.range_mut(..at).next_back()
        {
            piece.extend_from_slice(fresh);
            return Ok(());
        }
        // What closes the first gap is taken at once.
        if self.pieces.len() >= MAX_PIECES && at != self.taken {
            return Err(limit("handshake bytes come in too many pieces"));
        }
        self.pieces.insert(at, fresh.to_vec());
        Ok(())
    }

    /// The next bytes in order, if they are there.
    pub(super) fn take(&mut self) -> Option<Vec<u8>> {
        let piece = self
            .pieces
            .first_entry()
            .filter(|piece| *piece.key() == self.taken)?
            .remove();
        self.taken += piece.len() as u64;
        Some(piece)
    }

    /// How many bytes were taken.
    #[cfg(test)]
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    /// Whether nothing waits to be taken.
    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }
}

fn limit(reason: &'static str) -> TransportError {
    TransportError::new(CloseCode::LIMIT, reason)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn drain(incoming: &mut Incoming) -> Vec<u8> {
        std::iter::from_fn(|| incoming.take()).flatten().collect()
    }

    fn stream(len: usize) -> Vec<u8> {
        (0..len).map(|at| (at * 31 % 251) as u8).collect()
    }

    proptest! {
        /// Whatever the pieces, their order and their overlaps: the stream comes out once, in order, as far as it is
        /// whole.
        #[test]
        fn any_pieces_give_the_stream(pieces in prop::collection::vec((0_usize..400, 0_usize..60), 0..150)) {
            let stream = stream(460);
            let mut incoming = Incoming::default();
            let (mut out, mut have) = (Vec::new(), vec![false; stream.len()]);
            for (offset, len) in pieces {
                incoming.insert(offset as u64, &stream[offset..offset + len]).unwrap();
                have[offset..offset + len].fill(true);
                out.extend(drain(&mut incoming));
                let whole = have.iter().take_while(|have| **have).count();
                prop_assert_eq!(&out, &stream[..whole]);
            }
        }
    }

    #[test]
    fn the_first_copy_counts() {
        let mut incoming = Incoming::default();
        incoming.insert(2, b"cd").unwrap();
        incoming.insert(0, b"ABXXEF").unwrap();
        assert_eq!(drain(&mut incoming), b"ABcdEF");
        incoming.insert(0, b"again").unwrap();
        assert!(incoming.is_empty());
    }

    #[test]
    fn the_window_moves_with_what_was_taken() {
        let mut incoming = Incoming::default();
        incoming.insert(WINDOW - 1, b"x").unwrap();
        assert_eq!(incoming.insert(WINDOW - 1, b"xy").unwrap_err().code, CloseCode::LIMIT);
        assert_eq!(incoming.insert(u64::MAX, b"xy").unwrap_err().code, CloseCode::LIMIT);
        incoming.insert(0, b"a").unwrap();
        assert_eq!(drain(&mut incoming), b"a");
        incoming.insert(WINDOW, b"y").unwrap();
    }

    #[test]
    fn pieces_are_bounded() {
        let mut incoming = Incoming::default();
        for piece in 0..MAX_PIECES as u64 {
            incoming.insert(1 + 2 * piece, b"x").unwrap();
        }
        assert_eq!(incoming.insert(1000, b"x").unwrap_err().code, CloseCode::LIMIT);
        incoming.insert(0, &[0; 2 * MAX_PIECES]).unwrap();
        assert_eq!(drain(&mut incoming).len(), 2 * MAX_PIECES);
    }
}
