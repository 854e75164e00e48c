//! The record of a packet that was sent.

use smallvec::SmallVec;

use crate::{
    bbr::Snapshot,
    channel::Chunk,
    handshake::CryptoRange,
    number::PacketNumber,
    time::Time,
    types::{ChannelId, Level},
};

/// What a sent packet held, as far as it matters when it is acknowledged or lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SentFrame {
    Crypto(CryptoRange),
    Message(Chunk),
    /// A repetition of what another packet holds: acknowledging it counts, losing it does not.
    Repeat(Chunk),
    MaxData,
    MaxChannelData(ChannelId),
    Floor,
    HandshakeDone,
    NewConnectionId(u64),
    RetireConnectionId(u64),
    Token,
    /// A PMTU probe of this size.
    MtuProbe(u16),
    PathResponse,
}

/// A packet that was sent.
#[derive(Clone, Debug)]
pub(crate) struct SentPacket {
    pub(crate) level: Level,
    pub(crate) number: PacketNumber,
    pub(crate) sent_at: Time,
    /// Bytes of the packet, header and tag included.
    pub(crate) size: u16,
    /// It is to be acknowledged. Such packets count as in flight.
    pub(crate) asks_for_ack: bool,
    /// It holds interactive messages or their protection.
    pub(crate) interactive: bool,
    /// Bytes of it that protect interactive messages of other packets.
    pub(crate) copies: u16,
    pub(crate) frames: SmallVec<[SentFrame; 3]>,
    /// The state of delivery when it was sent.
    pub(crate) snapshot: Snapshot,
}

impl SentPacket {
    /// It was sent to find out whether the path takes packets of its size.
    pub(crate) fn is_mtu_probe(&self) -> bool {
        self.frames.iter().any(|frame| matches!(frame, SentFrame::MtuProbe(_)))
    }
}
