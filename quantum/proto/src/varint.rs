//! Variable-length integers of RFC 9000 section 16.

use bytes::{Buf, BufMut};

/// The largest value that can be written.
pub(crate) const MAX: u64 = (1 << 62) - 1;

/// Bytes that a value takes: 1, 2, 4 or 8.
pub(crate) const fn len(value: u64) -> usize {
    match value {
        0..=0x3f => 1,
        0x40..=0x3fff => 2,
        0x4000..=0x3fff_ffff => 4,
        _ => 8,
    }
}

/// Writes a value of at most [`MAX`].
///
/// # Panics
/// When it is larger: that is a bug of the caller.
pub(crate) fn write(value: u64, out: &mut impl BufMut) {
    match len(value) {
        1 => out.put_u8(value as u8),
        2 => out.put_u16(value as u16 | 0x4000),
        4 => out.put_u32(value as u32 | 0x8000_0000),
        _ => {
            assert!(value <= MAX, "{value} does not fit a varint");
            out.put_u64(value | 0xc000_0000_0000_0000);
        }
    }
}

/// Reads a value; `None` when the bytes end before it does.
pub(crate) fn read(input: &mut impl Buf) -> Option<u64> {
    let first = *input.chunk().first()?;
    let len = 1 << (first >> 6);
    if input.remaining() < len {
        return None;
    }
    Some(match len {
        1 => u64::from(input.get_u8()),
        2 => u64::from(input.get_u16() & 0x3fff),
        4 => u64::from(input.get_u32() & 0x3fff_ffff),
        _ => input.get_u64() & MAX,
    })
}
