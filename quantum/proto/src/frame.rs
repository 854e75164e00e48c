//! What packets hold. `quantum/SPEC.md` section 5.

use bytes::Bytes;
use smallvec::SmallVec;

use crate::{
    error::{CloseCode, TransportError},
    number::PacketNumber,
    types::{ChannelId, ConnectionId, Delivery, MessageId},
};

/// Numbers `first..=last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// The first.
    pub first: PacketNumber,
    /// The last.
    pub last: PacketNumber,
}

/// The most blocks in an ACK frame.
pub(crate) const MAX_BLOCKS: usize = 8;
/// Bytes that an ACK frame takes at most.
pub(crate) const MAX_ACK_LEN: usize = 1 + 8 + 8 + 1 + MAX_BLOCKS * 16 + 24;
/// Bytes that the fields of a MESSAGE frame take at most, its length included.
pub(crate) const MAX_MESSAGE_HEADER: usize = 1 + 8 + 8 + 8 + 4;

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

/// Part of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageFrame {
    /// On which channel.
    pub channel: ChannelId,
    /// In order, or not.
    pub delivery: Delivery,
    /// Which message.
    pub id: MessageId,
    /// Where in it the bytes stand.
    pub offset: u64,
    /// They are its last.
    pub fin: bool,
    /// The bytes.
    pub data: Bytes,
}

/// A parity symbol of a block. `quantum/SPEC.md` section 7.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parity {
    /// The packets that are protected, rising: 1 to 10.
    pub sources: SmallVec<[PacketNumber; 10]>,
    /// Which of the three parity symbols.
    pub index: u8,
    /// The symbol.
    pub symbol: Bytes,
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// That many PADDING frames.
    Padding(usize),
    /// Asks for an acknowledgement.
    Ping,
    /// See [`Ack`].
    Ack(Ack),
    /// TLS handshake bytes.
    Crypto {
        /// Where they stand in the stream of their level.
        offset: u64,
        /// The bytes.
        data: Bytes,
    },
    /// The smallest number that the sender waits for.
    Floor(PacketNumber),
    /// Flow control of the connection.
    MaxData(u64),
    /// Flow control of a channel.
    MaxChannelData(ChannelId, u64),
    /// Asks a path for an answer.
    PathChallenge([u8; 8]),
    /// Answers.
    PathResponse([u8; 8]),
    /// One more id for this connection.
    NewConnectionId {
        /// Counts the ids.
        sequence: u64,
        /// The id.
        id: ConnectionId,
        /// Its stateless reset token.
        reset_token: [u8; 16],
    },
    /// An id that is no longer used.
    RetireConnectionId(u64),
    /// Proves an address.
    Token(Bytes),
    /// The handshake is confirmed.
    HandshakeDone,
    /// The connection is over.
    Close {
        /// Why.
        code: CloseCode,
        /// The same in words.
        reason: String,
    },
    /// See [`Parity`].
    Parity(Parity),
    /// See [`MessageFrame`].
    Message(MessageFrame),
    /// An unreliable datagram.
    Datagram(Bytes),
}

impl Frame {
    /// Whether a packet with this frame is to be acknowledged.
    pub(crate) fn asks_for_ack(&self) -> bool {
        !matches!(self, Self::Padding(_) | Self::Ack(_) | Self::Close { .. } | Self::Floor(_))
    }

    /// Appends the frame. `ack` is the header's acknowledgement, which ACK frames count from. MESSAGE and DATAGRAM frames are
    /// written with their length, so that others can follow.
    pub(crate) fn encode(&self, _ack: PacketNumber, _out: &mut Vec<u8>) {
        todo!()
    }
}

/// Reads the frames of an opened payload, one by one; MESSAGE, CRYPTO and such share the payload's memory.
pub(crate) struct Frames {
    _ack: PacketNumber,
    _payload: Bytes,
}

impl Frames {
    /// `ack` is the acknowledgement of the packet's header, in full.
    pub(crate) fn new(ack: PacketNumber, payload: Bytes) -> Self {
        Self { _ack: ack, _payload: payload }
    }
}

impl Iterator for Frames {
    type Item = Result<Frame, TransportError>;

    /// After an error there is nothing more.
    fn next(&mut self) -> Option<Self::Item> {
        todo!()
    }
}
