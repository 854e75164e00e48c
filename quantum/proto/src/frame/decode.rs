//! Reading frames out of a payload.

use bytes::{Buf, Bytes};
use uuid::Uuid;

use super::{Frame, MAX_REASON, ack, kind, message, parity};
use crate::{
    error::{CloseCode, TransportError},
    number::PacketNumber,
    types::{ChannelId, ConnectionId},
    varint,
};

/// What is wrong with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) &'static str);

impl From<Malformed> for TransportError {
    fn from(malformed: Malformed) -> Self {
        Self::new(CloseCode::FRAME, malformed.0)
    }
}

/// The payload ends before the frame does.
const TRUNCATED: Malformed = Malformed("truncated frame");

/// Reads the frames of an opened payload, one by one; MESSAGE, CRYPTO and such share the payload's memory.
pub(crate) struct Frames {
    ack: PacketNumber,
    /// What is not read yet.
    payload: Bytes,
}

impl Frames {
    /// `ack` is the acknowledgement of the packet's header, in full.
    pub(crate) fn new(ack: PacketNumber, payload: Bytes) -> Self {
        Self { ack, payload }
    }

    fn read(&mut self) -> Result<Frame, Malformed> {
        let input = &mut self.payload;
        Ok(match byte(input)? {
            kind::PADDING => {
                let more = zeros(input);
                input.advance(more);
                Frame::Padding(1 + more)
            }
            kind::PING => Frame::Ping,
            kind::ACK => Frame::Ack(ack::read(false, self.ack, input)?),
            kind::ACK_ECN => Frame::Ack(ack::read(true, self.ack, input)?),
            kind::CRYPTO => {
                let (offset, data) = (number(input)?, prefixed(input)?);
                if offset + data.len() as u64 > varint::MAX {
                    return Err(Malformed("CRYPTO beyond the largest offset"));
                }
                Frame::Crypto { offset, data }
            }
            kind::FLOOR => Frame::Floor(PacketNumber(number(input)?)),
            kind::MAX_DATA => Frame::MaxData(number(input)?),
            kind::MAX_CHANNEL_DATA => Frame::MaxChannelData(channel(input)?, number(input)?),
            kind::PATH_CHALLENGE => Frame::PathChallenge(array(input)?),
            kind::PATH_RESPONSE => Frame::PathResponse(array(input)?),
            kind::NEW_CONNECTION_ID => Frame::NewConnectionId {
                sequence: number(input)?,
                id: ConnectionId(Uuid::from_bytes(array(input)?)),
                reset_token: array(input)?,
            },
            kind::RETIRE_CONNECTION_ID => Frame::RetireConnectionId(number(input)?),
            kind::TOKEN => Frame::Token(prefixed(input)?),
            kind::HANDSHAKE_DONE => Frame::HandshakeDone,
            kind::CLOSE => Frame::Close {
                code: CloseCode(number(input)?),
                reason: reason(&prefixed(input)?),
            },
            kind::PARITY => Frame::Parity(parity::read(input)?),
            bits @ kind::MESSAGE..=kind::MESSAGE_LAST => Frame::Message(message::read(bits, input)?),
            kind::DATAGRAM => Frame::Datagram(std::mem::take(input)),
            kind::DATAGRAM_LEN => Frame::Datagram(prefixed(input)?),
            _ => return Err(Malformed("unknown frame type")),
        })
    }
}

impl Iterator for Frames {
    type Item = Result<Frame, TransportError>;

    /// After an error there is nothing more.
    fn next(&mut self) -> Option<Self::Item> {
        if self.payload.is_empty() {
            return None;
        }
        let frame = self.read();
        if frame.is_err() {
            self.payload.clear();
        }
        Some(frame.map_err(TransportError::from))
    }
}

/// How many zeros the bytes begin with; counted by 16, as whole datagrams are padded.
fn zeros(bytes: &[u8]) -> usize {
    let (chunks, _) = bytes.as_chunks::<16>();
    let whole = 16 * chunks.iter().take_while(|chunk| **chunk == [0; 16]).count();
    whole + bytes[whole..].iter().take_while(|byte| **byte == 0).count()
}

/// The words of a CLOSE, whatever bytes they are.
fn reason(bytes: &[u8]) -> String {
    let mut reason = String::from_utf8_lossy(&bytes[..bytes.len().min(MAX_REASON)]).into_owned();
    // What replaces an invalid byte is longer than it.
    reason.truncate(reason.floor_char_boundary(MAX_REASON));
    reason
}

pub(super) fn byte(input: &mut Bytes) -> Result<u8, Malformed> {
    input.try_get_u8().map_err(|_| TRUNCATED)
}

pub(super) fn number(input: &mut Bytes) -> Result<u64, Malformed> {
    varint::read(input).ok_or(TRUNCATED)
}

pub(super) fn channel(input: &mut Bytes) -> Result<ChannelId, Malformed> {
    u32::try_from(number(input)?)
        .map(ChannelId)
        .map_err(|_| Malformed("channel id beyond 32 bits"))
}

/// Bytes with their length before them.
pub(super) fn prefixed(input: &mut Bytes) -> Result<Bytes, Malformed> {
    let len = number(input)?;
    match usize::try_from(len) {
        Ok(len) if len <= input.len() => Ok(input.split_to(len)),
        _ => Err(TRUNCATED),
    }
}

fn array<const N: usize>(input: &mut Bytes) -> Result<[u8; N], Malformed> {
    let array = *input.first_chunk().ok_or(TRUNCATED)?;
    input.advance(N);
    Ok(array)
}
