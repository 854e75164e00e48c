//! MESSAGE frames.

use bytes::{BufMut, Bytes};

use super::{
    decode::{Malformed, channel, number, prefixed},
    kind,
};
use crate::{
    channel::Chunk,
    types::{ChannelId, Delivery, MessageId},
    varint,
};

/// Bytes that the fields of a MESSAGE frame take at most, its length included.
pub(crate) const MAX_MESSAGE_HEADER: usize = 1 + 8 + 8 + 8 + 4;

/// The message ends with these bytes.
const FIN: u8 = 0x01;
const UNORDERED: u8 = 0x02;
/// A length follows; otherwise the bytes run to the payload's end.
const LENGTH: u8 = 0x04;

/// Part of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageFrame {
    /// On which channel.
    pub channel: ChannelId,
    /// In order, or not.
    pub delivery: Delivery,
    /// Which message.
    pub id: MessageId,
    /// Where in it the bytes stand. They end within 32 bits.
    pub offset: u64,
    /// They are its last.
    pub fin: bool,
    /// The bytes.
    pub data: Bytes,
}

impl MessageFrame {
    /// Which stretch of the message this is.
    ///
    /// # Panics
    /// When it does not end within 32 bits, which no decoded frame does.
    pub(crate) fn chunk(&self) -> Chunk {
        let (Ok(offset), Ok(len)) = (u32::try_from(self.offset), u32::try_from(self.data.len())) else {
            panic!("a message has less than 4 GiB");
        };
        Chunk {
            channel: self.channel,
            delivery: self.delivery,
            id: self.id,
            offset,
            len,
            fin: self.fin,
        }
    }
}

/// Bytes that the fields of a MESSAGE frame take which names this place and is followed by at most so many bytes.
pub(crate) fn header_len(channel: ChannelId, id: MessageId, offset: u32, len: usize) -> usize {
    1 + varint::len(u64::from(channel.0)) + varint::len(id.0) + varint::len(u64::from(offset)) + varint::len(len as u64)
}

/// Appends a MESSAGE frame with its length.
///
/// # Panics
/// When `data` is not as long as the chunk, or ends beyond 32 bits.
pub(crate) fn write(chunk: Chunk, data: &[u8], out: &mut Vec<u8>) {
    assert_eq!(data.len(), chunk.len as usize, "the data are those of the chunk");
    assert!(
        chunk.offset.checked_add(chunk.len).is_some(),
        "a message has less than 4 GiB"
    );
    let mut bits = kind::MESSAGE | LENGTH;
    if chunk.fin {
        bits |= FIN;
    }
    if chunk.delivery == Delivery::Unordered {
        bits |= UNORDERED;
    }
    out.push(bits);
    varint::write(u64::from(chunk.channel.0), out);
    varint::write(chunk.id.0, out);
    varint::write(u64::from(chunk.offset), out);
    varint::write(u64::from(chunk.len), out);
    out.put_slice(data);
}

/// Reads what follows the type, which has these bits.
pub(super) fn read(bits: u8, input: &mut Bytes) -> Result<MessageFrame, Malformed> {
    let channel = channel(input)?;
    let id = MessageId(number(input)?);
    let offset = number(input)?;
    let data = if bits & LENGTH == 0 {
        std::mem::take(input)
    } else {
        prefixed(input)?
    };
    if offset + data.len() as u64 > u64::from(u32::MAX) {
        return Err(Malformed("a message of 4 GiB"));
    }
    let delivery = if bits & UNORDERED == 0 {
        Delivery::Ordered
    } else {
        Delivery::Unordered
    };
    Ok(MessageFrame {
        channel,
        delivery,
        id,
        offset,
        fin: bits & FIN != 0,
        data,
    })
}
