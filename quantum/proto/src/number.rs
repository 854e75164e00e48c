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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn extends_to_the_nearest() {
        const WINDOW: u64 = 1 << 32;
        let extended = |low: u32, expected: u64| PacketNumber::extend(low, PacketNumber(expected)).0;
        assert_eq!(extended(0, 0), 0);
        assert_eq!(
            extended(u32::MAX, 0),
            u64::from(u32::MAX),
            "there is nothing below zero"
        );
        assert_eq!(extended(0, WINDOW - 1), WINDOW);
        assert_eq!(extended(u32::MAX, WINDOW), WINDOW - 1);
        assert_eq!(extended(5, 7 * WINDOW + 3), 7 * WINDOW + 5);
        assert_eq!(
            extended(1 << 31, 3 * WINDOW),
            3 * WINDOW + (1 << 31),
            "half a window ahead"
        );
        assert_eq!(
            extended((1 << 31) + 1, 3 * WINDOW),
            2 * WINDOW + (1 << 31) + 1,
            "a little less behind"
        );
    }

    #[test]
    fn generations() {
        assert_eq!(PacketNumber(0).generation(), 0);
        assert_eq!(PacketNumber((1 << 20) - 1).generation(), 0);
        assert_eq!(PacketNumber(1 << 20).generation(), 1);
        assert_eq!(PacketNumber::first_of(3), PacketNumber(3 << 20));
        assert_eq!(PacketNumber::first_of(3).generation(), 3);
    }

    proptest! {
        #[test]
        fn whatever_is_near_survives_shortening(expected in 0..1u64 << 62, distance in -(1i64 << 31) + 1..1i64 << 31) {
            let number = PacketNumber(expected.saturating_add_signed(distance));
            prop_assert_eq!(PacketNumber::extend(number.low(), PacketNumber(expected)), number);
        }
    }
}
