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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 9000 appendix A.1, and the ends of each length.
    const EXAMPLES: [(u64, &[u8]); 11] = [
        (0, &[0x00]),
        (37, &[0x25]),
        (63, &[0x3f]),
        (64, &[0x40, 0x40]),
        (15_293, &[0x7b, 0xbd]),
        (16_383, &[0x7f, 0xff]),
        (16_384, &[0x80, 0x00, 0x40, 0x00]),
        (494_878_333, &[0x9d, 0x7f, 0x3e, 0x7d]),
        ((1 << 30) - 1, &[0xbf, 0xff, 0xff, 0xff]),
        (
            151_288_809_941_952_652,
            &[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c],
        ),
        (MAX, &[0xff; 8]),
    ];

    #[test]
    fn examples() {
        for (value, bytes) in EXAMPLES {
            let mut out = Vec::new();
            write(value, &mut out);
            assert_eq!(out, bytes);
            assert_eq!(len(value), bytes.len());
            assert_eq!(read(&mut &*bytes), Some(value));
        }
    }

    #[test]
    fn longer_than_needed_is_read() {
        assert_eq!(read(&mut &[0x40, 0x25][..]), Some(37));
        assert_eq!(read(&mut &[0xc0, 0, 0, 0, 0, 0, 0, 37][..]), Some(37));
    }

    #[test]
    #[should_panic(expected = "does not fit")]
    fn too_large_is_refused() {
        write(MAX + 1, &mut Vec::new());
    }

    proptest! {
        #[test]
        fn round_trip(shift in 0..64u32, bits: u64, behind: u8) {
            let value = (bits >> shift).min(MAX);
            let mut out = Vec::new();
            write(value, &mut out);
            prop_assert_eq!(out.len(), len(value));
            prop_assert_eq!(read(&mut &out[..out.len() - 1]), None);
            out.push(behind);
            let mut input = &out[..];
            prop_assert_eq!(read(&mut input), Some(value));
            prop_assert_eq!(input, &[behind]);
        }
    }
}
