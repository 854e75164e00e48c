//! ACK frames.

use bytes::Bytes;
use smallvec::SmallVec;

use super::{
    decode::{Malformed, byte, number},
    kind,
};
use crate::{number::PacketNumber, varint};

/// The most blocks in an ACK frame.
pub(crate) const MAX_BLOCKS: usize = 8;
/// Bytes that an ACK frame takes at most.
pub(crate) const MAX_ACK_LEN: usize = 1 + 8 + 8 + 1 + MAX_BLOCKS * 16 + 24;

/// Numbers `first..=last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// The first.
    pub first: PacketNumber,
    /// The last.
    pub last: PacketNumber,
}

/// Which packets arrived, beyond the header's acknowledgement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ack {
    /// How long the largest was held before this was sent.
    pub delay_us: u64,
    /// Packets that were repaired from parity, since the connection began.
    pub repaired: u64,
    /// From the largest down, all above the header's acknowledgement, none touching another.
    pub blocks: SmallVec<[Block; MAX_BLOCKS]>,
    /// Packets that arrived with ECT(0), ECT(1) and CE, when the receiver can tell.
    pub ecn: Option<[u64; 3]>,
}

/// Appends an ACK frame that counts from `acknowledgement`.
///
/// # Panics
/// When the blocks are not as [`Ack`] says.
pub(crate) fn write(ack: &Ack, acknowledgement: PacketNumber, out: &mut Vec<u8>) {
    assert!(ack.blocks.len() <= MAX_BLOCKS, "an ACK has at most {MAX_BLOCKS} blocks");
    out.push(if ack.ecn.is_some() { kind::ACK_ECN } else { kind::ACK });
    varint::write(ack.delay_us, out);
    varint::write(ack.repaired, out);
    out.push(ack.blocks.len() as u8);
    let mut above: Option<Block> = None;
    for &block in &ack.blocks {
        assert!(
            acknowledgement < block.first && block.first <= block.last,
            "{block:?} with {acknowledgement}"
        );
        match above {
            None => varint::write(block.last.0 - acknowledgement.0, out),
            Some(above) => {
                assert!(block.last.next() < above.first, "{block:?} stands below {above:?}");
                varint::write(above.first.0 - block.last.0 - 2, out);
            }
        }
        varint::write(block.last.0 - block.first.0, out);
        above = Some(block);
    }
    for count in ack.ecn.into_iter().flatten() {
        varint::write(count, out);
    }
}

/// Reads what follows the type.
pub(super) fn read(with_ecn: bool, acknowledgement: PacketNumber, input: &mut Bytes) -> Result<Ack, Malformed> {
    let delay_us = number(input)?;
    let repaired = number(input)?;
    let count = usize::from(byte(input)?);
    if count > MAX_BLOCKS {
        return Err(Malformed("too many blocks in ACK"));
    }
    let mut blocks = SmallVec::new();
    let mut above: Option<Block> = None;
    for _ in 0..count {
        let distance = number(input)?;
        let last = match above {
            None => acknowledgement.0.checked_add(distance),
            // One further down than the numbers that are missing, which are one more than was written.
            Some(above) => distance
                .checked_add(2)
                .and_then(|distance| above.first.0.checked_sub(distance)),
        };
        let last = last.filter(|&last| last <= varint::MAX).ok_or(OUT_OF_RANGE)?;
        let first = last.checked_sub(number(input)?).ok_or(OUT_OF_RANGE)?;
        if first <= acknowledgement.0 {
            return Err(OUT_OF_RANGE);
        }
        let block = Block {
            first: PacketNumber(first),
            last: PacketNumber(last),
        };
        blocks.push(block);
        above = Some(block);
    }
    let ecn = if with_ecn {
        Some([number(input)?, number(input)?, number(input)?])
    } else {
        None
    };
    Ok(Ack {
        delay_us,
        repaired,
        blocks,
        ecn,
    })
}

const OUT_OF_RANGE: Malformed = Malformed("block of ACK out of range");
