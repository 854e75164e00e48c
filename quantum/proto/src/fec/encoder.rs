//! The block that is being filled.
//!
//! Owns the numbers of the open block's sources and its parity symbols, which are summed up as the sources come: no payload is
//! kept, and closing costs nothing.
//! Invariants: at most 10 sources, with rising numbers; a source is in one block only.

use bytes::Bytes;
use smallvec::SmallVec;

use crate::{
    fec::{PARITIES, SOURCES, code::Code},
    frame::Parity,
    number::PacketNumber,
};

pub(crate) struct Encoder {
    /// Built with the first source: most connections never protect anything.
    code: Option<Code>,
    sources: SmallVec<[PacketNumber; SOURCES]>,
    parities: [Vec<u8>; PARITIES],
}

impl Encoder {
    pub(crate) fn new() -> Self {
        Self {
            code: None,
            sources: SmallVec::new(),
            parities: Default::default(),
        }
    }

    /// A packet with this opened payload was sent as a source. Returns `true` when the block is full and must be closed.
    pub(crate) fn add(&mut self, number: PacketNumber, payload: &[u8]) -> bool {
        assert!(
            self.sources.len() < SOURCES,
            "a full block is closed before the next source"
        );
        assert!(
            self.sources.last().is_none_or(|&last| last < number),
            "sources have rising numbers"
        );
        let code = self.code.get_or_insert_with(Code::new);
        code.add(self.sources.len(), payload, &mut self.parities);
        self.sources.push(number);
        self.sources.len() == SOURCES
    }

    /// How many sources the open block has.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.sources.len()
    }

    /// Closes the block: its first `count` parities, at most 3. An empty block has none.
    pub(crate) fn close(&mut self, count: usize) -> Vec<Parity> {
        let sources = std::mem::take(&mut self.sources);
        let count = if sources.is_empty() { 0 } else { count.min(PARITIES) };
        let parities = self.parities.iter_mut().zip(0..).take(count);
        let parities = parities.map(|(parity, index)| Parity {
            sources: sources.clone(),
            index,
            symbol: Bytes::from(std::mem::take(parity)),
        });
        let parities = parities.collect();
        self.parities.iter_mut().for_each(Vec::clear);
        parities
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_full_with_ten_sources_and_empty_after_it_was_closed() {
        let mut encoder = Encoder::new();
        assert!(encoder.close(3).is_empty());
        for number in 0..10 {
            assert_eq!(encoder.len(), number);
            assert_eq!(
                encoder.add(PacketNumber(2 * number as u64), &vec![7; number]),
                number == 9
            );
        }
        let parities = encoder.close(9);
        assert_eq!(parities.len(), 3);
        for (index, parity) in parities.iter().enumerate() {
            assert_eq!(usize::from(parity.index), index);
            assert_eq!(parity.symbol.len(), 2 + 9);
            assert!(
                parity
                    .sources
                    .iter()
                    .map(|number| number.0)
                    .eq((0..10).map(|number| 2 * number))
            );
        }
        assert_eq!(encoder.len(), 0);
    }

    #[test]
    fn nothing_of_a_closed_block_is_left_in_the_next() {
        let (mut used, mut fresh) = (Encoder::new(), Encoder::new());
        used.add(PacketNumber(1), &[0xaa; 500]);
        used.add(PacketNumber(2), &[0x55; 700]);
        assert_eq!(used.close(1).len(), 1);
        used.add(PacketNumber(3), b"abc");
        fresh.add(PacketNumber(3), b"abc");
        assert_eq!(used.close(3), fresh.close(3));
    }
}
