//! The 32-byte packet header. `quantum/SPEC.md` section 1.

use crate::{
    number::PacketNumber,
    types::{ConnectionId, Level},
};

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

    /// Whether all of these are set.
    pub const fn has(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }

    /// These and those.
    pub const fn with(self, flags: Self) -> Self {
        Self(self.0 | flags.0)
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
        todo!()
    }

    /// Reads the header of the first packet of a datagram. A version other than ours is returned with the fields as
    /// version 1 has them: the layout up to the connection id is the same in all versions.
    pub fn decode(_datagram: &[u8]) -> Result<Self, HeaderError> {
        todo!()
    }

    /// The packet's number in full.
    pub(crate) fn full_number(&self, expected: PacketNumber) -> PacketNumber {
        PacketNumber::extend(self.number, expected)
    }
}
