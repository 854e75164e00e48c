//! Writing CBOR items in their shortest form.

use super::{ARRAY, BYTES, F64, FALSE, MAP, MAX_SAFE_INTEGER, SIMPLE, TEXT, TRUE, UNSIGNED};

/// Where a writer's bytes go.
pub(in crate::repo) trait Sink {
    /// Takes bytes.
    fn put(&mut self, bytes: &[u8]);
}

impl Sink for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Counts the bytes.
#[derive(Default)]
pub(in crate::repo) struct Count(pub(in crate::repo) usize);

impl Sink for Count {
    fn put(&mut self, bytes: &[u8]) {
        self.0 += bytes.len();
    }
}

/// Writes items in their shortest form.
pub(in crate::repo) trait Write: Sink {
    /// The header of a map with `n` entries.
    fn map(&mut self, n: usize) {
        self.head(MAP, n as u64);
    }

    /// The header of an array with `n` elements.
    fn array(&mut self, n: usize) {
        self.head(ARRAY, n as u64);
    }

    /// Text.
    fn text(&mut self, text: &str) {
        self.head(TEXT, text.len() as u64);
        self.put(text.as_bytes());
    }

    /// An untagged byte string.
    fn bytes(&mut self, bytes: &[u8]) {
        self.head(BYTES, bytes.len() as u64);
        self.put(bytes);
    }

    /// A boolean.
    fn bool(&mut self, value: bool) {
        self.head(SIMPLE, u64::from(if value { TRUE } else { FALSE }));
    }

    /// A whole number. Above 32 bits it is sent as a float where that is exact, because JavaScript reads 8-byte integers
    /// as `BigInt`.
    fn count(&mut self, n: u64) {
        if n > u64::from(u32::MAX) && n <= MAX_SAFE_INTEGER {
            self.float(n as f64);
        } else {
            self.head(UNSIGNED, n);
        }
    }

    /// A number as a 64-bit float.
    fn float(&mut self, n: f64) {
        self.put(&[SIMPLE << 5 | F64]);
        self.put(&n.to_be_bytes());
    }

    /// The start of an item.
    fn head(&mut self, major: u8, argument: u64) {
        let all = argument.to_be_bytes();
        let (info, tail) = match argument {
            0..=23 => (all[7], &all[8..]),
            24..=0xff => (24, &all[7..]),
            0x100..=0xffff => (25, &all[6..]),
            0x1_0000..=0xffff_ffff => (26, &all[4..]),
            _ => (27, &all[..]),
        };
        self.put(&[major << 5 | info]);
        self.put(tail);
    }
}

impl<S: Sink> Write for S {}
