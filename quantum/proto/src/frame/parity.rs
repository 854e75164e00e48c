//! PARITY frames.

use bytes::{BufMut, Bytes};
use smallvec::SmallVec;

use super::{
    decode::{Malformed, byte, number, prefixed},
    kind,
};
use crate::{
    fec::{PARITIES, SOURCES},
    number::PacketNumber,
    varint,
};

/// A parity symbol of a block. `quantum/SPEC.md` section 7.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parity {
    /// The packets that are protected, rising: 1 to 10.
    pub sources: SmallVec<[PacketNumber; SOURCES]>,
    /// Which of the three parity symbols.
    pub index: u8,
    /// The symbol.
    pub symbol: Bytes,
}

/// Appends a PARITY frame.
///
/// # Panics
/// When the sources or the index are not as [`Parity`] says.
pub(crate) fn write(parity: &Parity, out: &mut Vec<u8>) {
    let sources = &parity.sources;
    assert!(
        (1..=SOURCES).contains(&sources.len()),
        "a block of {} sources",
        sources.len()
    );
    assert!(usize::from(parity.index) < PARITIES, "a block has {PARITIES} parities");
    out.push(kind::PARITY);
    varint::write(sources[0].0, out);
    out.push(sources.len() as u8);
    for pair in sources.windows(2) {
        assert!(pair[0] < pair[1], "the sources rise");
        varint::write(pair[1].0 - pair[0].0 - 1, out);
    }
    out.push(parity.index);
    varint::write(parity.symbol.len() as u64, out);
    out.put_slice(&parity.symbol);
}

/// Reads what follows the type.
pub(super) fn read(input: &mut Bytes) -> Result<Parity, Malformed> {
    let mut source = number(input)?;
    let count = usize::from(byte(input)?);
    if !(1..=SOURCES).contains(&count) {
        return Err(Malformed("PARITY with an impossible number of sources"));
    }
    let mut sources = SmallVec::new();
    sources.push(PacketNumber(source));
    for _ in 1..count {
        // Neither is above 2^62, so that the sum is within 64 bits.
        source += number(input)? + 1;
        if source > varint::MAX {
            return Err(Malformed("source of PARITY out of range"));
        }
        sources.push(PacketNumber(source));
    }
    let index = byte(input)?;
    if usize::from(index) >= PARITIES {
        return Err(Malformed("PARITY with an impossible index"));
    }
    Ok(Parity {
        sources,
        index,
        symbol: prefixed(input)?,
    })
}
