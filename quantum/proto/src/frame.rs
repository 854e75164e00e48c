//! What packets hold. `quantum/SPEC.md` sections 5 and 7.
//!
//! Owns the frames' layout. Input and output are bytes: [`Frame::encode`] appends to a packet, [`Frames`] reads an opened payload.
//! What goes into nearly every packet can be written without a [`Frame`] around it: [`write_message`], [`write_ack`], [`write_crypto`].
//! Invariants: reading copies nothing but the reason of a CLOSE, and every number that comes out is within its type's range;
//! whether a frame makes sense where it stood is for its reader to judge.
//! On failure: a malformed frame closes the connection (FRAME).

mod ack;
mod decode;
mod message;
mod parity;
#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) mod vectors;

use bytes::{BufMut, Bytes};

pub(crate) use self::{
    ack::{Ack, Block, MAX_ACK_LEN, MAX_BLOCKS, write as write_ack},
    decode::Frames,
    message::{MAX_MESSAGE_HEADER, MessageFrame, header_len as message_header_len, write as write_message},
    parity::{Parity, write as write_parity},
};
use crate::{
    error::CloseCode,
    number::PacketNumber,
    types::{ChannelId, ConnectionId},
    varint,
};

/// Bytes of a CLOSE's reason that are sent, and looked at.
pub(crate) const MAX_REASON: usize = 256;

/// The types as they stand on the wire.
mod kind {
    pub(super) const PADDING: u8 = 0x00;
    pub(super) const PING: u8 = 0x01;
    pub(super) const ACK: u8 = 0x02;
    pub(super) const ACK_ECN: u8 = 0x03;
    pub(super) const CRYPTO: u8 = 0x04;
    pub(super) const FLOOR: u8 = 0x05;
    pub(super) const MAX_DATA: u8 = 0x06;
    pub(super) const MAX_CHANNEL_DATA: u8 = 0x07;
    pub(super) const PATH_CHALLENGE: u8 = 0x08;
    pub(super) const PATH_RESPONSE: u8 = 0x09;
    pub(super) const NEW_CONNECTION_ID: u8 = 0x0a;
    pub(super) const RETIRE_CONNECTION_ID: u8 = 0x0b;
    pub(super) const TOKEN: u8 = 0x0c;
    pub(super) const HANDSHAKE_DONE: u8 = 0x0d;
    pub(super) const CLOSE: u8 = 0x0e;
    pub(super) const PARITY: u8 = 0x10;
    /// The first of those with bits: see [`super::message`].
    pub(super) const MESSAGE: u8 = 0x20;
    pub(super) const MESSAGE_LAST: u8 = 0x27;
    pub(super) const DATAGRAM: u8 = 0x30;
    pub(super) const DATAGRAM_LEN: u8 = 0x31;
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
        /// The same in words: at most 256 bytes, what is longer is cut off.
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
        !matches!(
            self,
            Self::Padding(_) | Self::Ack(_) | Self::Close { .. } | Self::Floor(_)
        )
    }

    /// Appends the frame. `ack` is the header's acknowledgement, which ACK frames count from. MESSAGE and DATAGRAM frames are
    /// written with their length, so that others can follow.
    ///
    /// # Panics
    /// When the frame breaks a rule that its type states: that is a bug of the caller.
    pub(crate) fn encode(&self, ack: PacketNumber, out: &mut Vec<u8>) {
        match self {
            Self::Padding(count) => write_padding(*count, out),
            Self::Ping => out.push(kind::PING),
            Self::Ack(frame) => write_ack(frame, ack, out),
            Self::Crypto { offset, data } => write_crypto(*offset, data, out),
            Self::Floor(number) => write_numbers(kind::FLOOR, [number.0], out),
            Self::MaxData(limit) => write_numbers(kind::MAX_DATA, [*limit], out),
            Self::MaxChannelData(channel, limit) => {
                write_numbers(kind::MAX_CHANNEL_DATA, [u64::from(channel.0), *limit], out);
            }
            Self::PathChallenge(data) => {
                out.push(kind::PATH_CHALLENGE);
                out.put_slice(data);
            }
            Self::PathResponse(data) => {
                out.push(kind::PATH_RESPONSE);
                out.put_slice(data);
            }
            Self::NewConnectionId {
                sequence,
                id,
                reset_token,
            } => {
                write_numbers(kind::NEW_CONNECTION_ID, [*sequence], out);
                out.put_slice(id.0.as_bytes());
                out.put_slice(reset_token);
            }
            Self::RetireConnectionId(sequence) => write_numbers(kind::RETIRE_CONNECTION_ID, [*sequence], out),
            Self::Token(token) => write_bytes(kind::TOKEN, [], token, out),
            Self::HandshakeDone => out.push(kind::HANDSHAKE_DONE),
            Self::Close { code, reason } => {
                let reason = &reason[..reason.floor_char_boundary(MAX_REASON)];
                write_bytes(kind::CLOSE, [code.0], reason.as_bytes(), out);
            }
            Self::Parity(parity) => write_parity(parity, out),
            Self::Message(message) => write_message(message.chunk(), &message.data, out),
            Self::Datagram(data) => write_datagram(data, out),
        }
    }
}

/// Appends that many PADDING frames.
pub(crate) fn write_padding(count: usize, out: &mut Vec<u8>) {
    out.resize(out.len() + count, kind::PADDING);
}

/// Appends a CRYPTO frame.
pub(crate) fn write_crypto(offset: u64, data: &[u8], out: &mut Vec<u8>) {
    write_bytes(kind::CRYPTO, [offset], data, out);
}

/// Appends a DATAGRAM frame with its length.
pub(crate) fn write_datagram(data: &[u8], out: &mut Vec<u8>) {
    write_bytes(kind::DATAGRAM_LEN, [], data, out);
}

fn write_numbers<const N: usize>(kind: u8, numbers: [u64; N], out: &mut Vec<u8>) {
    out.push(kind);
    for number in numbers {
        varint::write(number, out);
    }
}

/// Numbers, and then bytes with their length before them.
fn write_bytes<const N: usize>(kind: u8, numbers: [u64; N], bytes: &[u8], out: &mut Vec<u8>) {
    write_numbers(kind, numbers, out);
    varint::write(bytes.len() as u64, out);
    out.put_slice(bytes);
}
