//! Packet numbers, and how they are shortened on the wire.

use std::fmt;

/// The number of a packet in its number space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PacketNumber(pub u64);

/// Packets of one key generation: see `quantum/SPEC.md` section 1.
const GENERATION_BITS: u32 = 20;

impl PacketNumber {
    /// The first number.
    pub const ZERO: Self = Self(0);

    /// The number after this one.
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// What the header carries.
    pub const fn low(self) -> u32 {
        self.0 as u32
    }

    /// Which keys of the application level seal this packet.
    pub const fn generation(self) -> u64 {
        self.0 >> GENERATION_BITS
    }

    /// The first number of a generation.
    pub const fn first_of(generation: u64) -> Self {
        Self(generation << GENERATION_BITS)
    }

    /// The number with these low bits that is nearest to the one expected next. RFC 9000 appendix A.3.
    pub const fn extend(low: u32, expected: Self) -> Self {
        const WINDOW: u64 = 1 << 32;
        let candidate = (expected.0 & !(WINDOW - 1)) | low as u64;
        if candidate + WINDOW / 2 <= expected.0 {
            Self(candidate + WINDOW)
        } else if candidate > expected.0 + WINDOW / 2 && candidate >= WINDOW {
            Self(candidate - WINDOW)
        } else {
            Self(candidate)
        }
    }
}

impl fmt::Display for PacketNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
