//! The 32-byte packet header. `quantum/SPEC.md` section 1.
//!
//! Owns the layout and the rule which flags go together. Pure functions; no allocation.
//! Invariant: a header that was decoded can be sliced out of its datagram together with its payload.
//! On failure: [`HeaderError`]; the bytes are to be ignored.

use bytes::{Buf, BufMut};
use uuid::Uuid;

use crate::{
    number::PacketNumber,
    types::{ConnectionId, Level},
};

/// The first bytes of every packet.
const MAGIC: u32 = u32::from_be_bytes(*b"QUNT");
/// Bytes of a header.
pub(crate) const HEADER_LEN: usize = 32;
/// Bytes that the AEAD adds to a payload.
pub(crate) const TAG_LEN: usize = 16;
/// The version that this crate speaks.
pub(crate) const VERSION: u8 = 1;

/// The flags of a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(pub u8);

impl Flags {
    /// The packet holds a CLOSE frame.
    pub const FIN: Self = Self(0x01);
    /// Handshake packet.
    pub const SYN: Self = Self(0x02);
    /// Not sealed with the connection's keys.
    pub const RST: Self = Self(0x04);
    /// Acknowledge at once (with SYN: handshake keys).
    pub const PSH: Self = Self(0x08);
    /// The acknowledgement is valid.
    pub const ACK: Self = Self(0x10);
    /// Interactive messages (with SYN: early keys).
    pub const URG: Self = Self(0x20);
    /// Congestion was experienced.
    pub const ECE: Self = Self(0x40);
    /// Part of a protected block.
    pub const FEC: Self = Self(0x80);

    /// A retry. `quantum/SPEC.md` section 8.
    pub(crate) const RETRY: Self = Self::SYN.with(Self::RST).with(Self::PSH);
    /// The versions that the server knows.
    pub(crate) const VERSIONS: Self = Self::SYN.with(Self::RST);
    /// A stateless reset.
    pub(crate) const RESET: Self = Self::RST;

    /// Whether all of these are set.
    pub const fn has(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }

    /// These and those.
    pub const fn with(self, flags: Self) -> Self {
        Self(self.0 | flags.0)
    }

    /// Whether the combination has a meaning: the packets of section 8 carry exactly their flags, and SYN does not name
    /// handshake and early keys at once.
    const fn is_valid(self) -> bool {
        if self.has(Self::RST) {
            return matches!(self, Self::RETRY | Self::VERSIONS | Self::RESET);
        }
        self.level().is_some()
    }

    /// Which keys seal the packet; `None` for an invalid combination. Not meaningful with RST.
    pub(crate) const fn level(self) -> Option<Level> {
        let (psh, urg) = (self.has(Self::PSH), self.has(Self::URG));
        match (self.has(Self::SYN), psh, urg) {
            (false, _, _) => Some(Level::Application),
            (true, false, false) => Some(Level::Initial),
            (true, true, false) => Some(Level::Handshake),
            (true, false, true) => Some(Level::Early),
            (true, true, true) => None,
        }
    }

    /// The flags that name these keys.
    pub(crate) const fn of_level(level: Level) -> Self {
        match level {
            Level::Initial => Self::SYN,
            Level::Handshake => Self::SYN.with(Self::PSH),
            Level::Early => Self::SYN.with(Self::URG),
            Level::Application => Self(0),
        }
    }
}

/// A packet's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The protocol's version.
    pub version: u8,
    /// See [`Flags`].
    pub flags: Flags,
    /// Whose packet it is.
    pub id: ConnectionId,
    /// Low 32 bits of the packet number.
    pub number: u32,
    /// Low 32 bits of the smallest number that is not settled.
    pub ack: u32,
    /// Bytes of the payload, tag included.
    pub payload_len: u16,
}

/// Why bytes are not a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Too short for a header.
    #[error("shorter than a header")]
    Short,
    /// Does not begin with `QUNT`.
    #[error("wrong magic")]
    Magic,
    /// The payload runs past the datagram.
    #[error("the payload runs past the datagram")]
    Length,
    /// Not a combination of flags that has a meaning.
    #[error("invalid flags")]
    Flags,
}

impl Header {
    /// The bytes on the wire.
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        let mut out = bytes.as_mut_slice();
        out.put_u32(MAGIC);
        out.put_u8(self.version);
        out.put_u8(self.flags.0);
        out.put_slice(self.id.0.as_bytes());
        out.put_u32(self.number);
        out.put_u32(self.ack);
        out.put_u16(self.payload_len);
        bytes
    }

    /// Reads the header of the first packet of a datagram. A version other than ours is returned with the fields as
    /// version 1 has them: the layout up to the connection id is the same in all versions.
    ///
    /// # Errors
    /// See [`HeaderError`]. Neither the acknowledgement nor the length of the payload is compared with the flags.
    pub fn decode(datagram: &[u8]) -> Result<Self, HeaderError> {
        let Some((header, behind)) = datagram.split_first_chunk::<HEADER_LEN>() else {
            return Err(HeaderError::Short);
        };
        let mut fields = header.as_slice();
        if fields.get_u32() != MAGIC {
            return Err(HeaderError::Magic);
        }
        let decoded = Self {
            version: fields.get_u8(),
            flags: Flags(fields.get_u8()),
            id: ConnectionId(Uuid::from_u128(fields.get_u128())),
            number: fields.get_u32(),
            ack: fields.get_u32(),
            payload_len: fields.get_u16(),
        };
        if !decoded.flags.is_valid() {
            return Err(HeaderError::Flags);
        }
        if usize::from(decoded.payload_len) > behind.len() {
            return Err(HeaderError::Length);
        }
        Ok(decoded)
    }

    /// The packet's number in full.
    pub(crate) fn full_number(&self, expected: PacketNumber) -> PacketNumber {
        PacketNumber::extend(self.number, expected)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::frame::vectors::{Kind, Vector, vectors};

    fn header(flags: u8, number: u32, ack: u32, payload_len: u16) -> Header {
        let id = ConnectionId(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001));
        Header {
            version: VERSION,
            flags: Flags(flags),
            id,
            number,
            ack,
            payload_len,
        }
    }

    /// What the names in `vectors/headers.txt` stand for.
    fn named(name: &str) -> Header {
        match name {
            "client_hello" => header(0x02, 0, 0, 1168),
            "server_hello" => header(0x12, 0, 1, 139),
            "handshake" => header(0x1a, 0, 1, 700),
            "early" => header(0x22, 0, 0, 58),
            "application" => header(0x10, 0x0010_0000, 0xffff_fffe, 64),
            "interactive_at_once" => header(0x38, 7, 5, 80),
            "protected_after_ce" => header(0xd0, 8, 5, 0xffff),
            "close" => header(0x11, 9, 5, 19),
            "close_handshake" => header(0x1b, 1, 0, 25),
            "retry" => header(0x0e, 0xffff_ffff, 0, 58),
            "versions" => header(0x06, 0, 0, 2),
            "stateless_reset" => header(0x04, 0x1234_5678, 0, 21),
            "next_version" => Header {
                version: 2,
                ..header(0x02, 0, 0, 0)
            },
            other => panic!("no header is named {other}"),
        }
    }

    #[test]
    fn golden_vectors() {
        let text = include_str!("../vectors/headers.txt");
        assert_eq!(vectors(text).filter(|vector| vector.kind != Kind::Bad).count(), 13);
        for Vector { kind, name, bytes } in vectors(text) {
            let decoded = |bytes: &[u8], header: &Header| {
                Header::decode(&[bytes, &vec![0; usize::from(header.payload_len)]].concat())
            };
            match kind {
                Kind::Both => {
                    let header = named(name);
                    assert_eq!(hex::encode(header.encode()), hex::encode(&bytes), "{name}");
                    assert_eq!(decoded(&bytes, &header), Ok(header), "{name}");
                }
                Kind::Read => panic!("{name}: a header has one encoding only"),
                Kind::Bad => assert!(Header::decode(&bytes).is_err(), "{name}"),
            }
        }
    }

    #[test]
    fn errors_are_told_apart() {
        let good = header(0x10, 1, 1, 4);
        let datagram = [good.encode().as_slice(), &[0; 4]].concat();
        assert_eq!(Header::decode(&datagram), Ok(good));
        assert_eq!(Header::decode(&datagram[..31]), Err(HeaderError::Short));
        assert_eq!(Header::decode(&datagram[..35]), Err(HeaderError::Length));
        assert_eq!(
            Header::decode(b"QUNX\x01\x10..........................plus"),
            Err(HeaderError::Magic)
        );
        assert_eq!(Header::decode(&header(0x2a, 0, 0, 0).encode()), Err(HeaderError::Flags));
    }

    #[test]
    fn flags_are_valid_as_specified() {
        const SYN_PSH_URG: u8 = 0x2a;
        for flags in 0..=u8::MAX {
            let valid = match flags & 0x04 {
                0 => flags & SYN_PSH_URG != SYN_PSH_URG,
                _ => [0x04, 0x06, 0x0e].contains(&flags),
            };
            let decoded = Header::decode(&header(flags, 0, 0, 0).encode());
            assert_eq!(decoded.is_ok(), valid, "flags {flags:#04x}");
        }
    }

    #[test]
    fn levels_are_named_by_flags() {
        for level in [Level::Initial, Level::Handshake, Level::Early, Level::Application] {
            assert_eq!(Flags::of_level(level).level(), Some(level));
        }
        assert_eq!(Flags::PSH.with(Flags::URG).level(), Some(Level::Application));
        assert_eq!(Flags::SYN.with(Flags::PSH).with(Flags::URG).level(), None);
    }

    proptest! {
        #[test]
        fn round_trip(
            version: u8,
            flags in any::<u8>().prop_map(|bits| if Flags(bits).is_valid() { bits } else { bits & 0xf0 & !0x20 }),
            id: u128,
            number: u32,
            ack: u32,
            payload in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            let payload_len = u16::try_from(payload.len()).unwrap();
            let header = Header { version, flags: Flags(flags), id: ConnectionId(Uuid::from_u128(id)), number, ack, payload_len };
            let datagram = [header.encode().as_slice(), &payload].concat();
            prop_assert_eq!(Header::decode(&datagram), Ok(header));
            prop_assert!(payload.is_empty() || Header::decode(&datagram[..datagram.len() - 1]).is_err());
        }

        #[test]
        fn any_bytes(mut bytes in prop::collection::vec(any::<u8>(), 0..64), magic: bool) {
            if magic && bytes.len() >= 4 {
                bytes[..4].copy_from_slice(b"QUNT");
            }
            if let Ok(header) = Header::decode(&bytes) {
                prop_assert_eq!(&header.encode()[..], &bytes[..HEADER_LEN]);
                prop_assert!(HEADER_LEN + usize::from(header.payload_len) <= bytes.len());
            }
        }
    }
}
