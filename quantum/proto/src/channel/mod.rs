//! Messages in channels: [`Outbox`] sends, [`Inbox`] receives.
//!
//! Owns every message from the application's `send` until it was acknowledged, and from its first bytes until the application
//! takes it. What goes between the two is a [`Chunk`] of a message; which packet holds it is the connection's business.
//!
//! Invariant: **a message is begun only when flow control lets it end.** Credit comes back only with messages that are whole, so
//! two large ones begun on half the credit each would wait for ever. The outbox therefore takes the credit of a whole message with its
//! first chunk; [`window`] keeps the announced credit large enough for the largest message; and an ordered channel
//! begins its messages in their order.

mod flow;
mod inbox;
mod outbox;
mod spans;
mod table;
#[cfg(test)]
mod tests;

pub(crate) use self::{flow::window, inbox::Inbox, outbox::Outbox};

use std::ops::Range;

use crate::types::{ChannelId, Delivery, MessageId};

/// What a message costs in flow control beyond its bytes.
pub(crate) const MESSAGE_COST: u64 = 32;

/// How far above the oldest incomplete message of its kind and channel an id may be. `quantum/SPEC.md` section 5.
const ID_WINDOW: u64 = 65_536;

/// A stretch of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chunk {
    pub(crate) channel: ChannelId,
    pub(crate) delivery: Delivery,
    pub(crate) id: MessageId,
    pub(crate) offset: u32,
    pub(crate) len: u32,
    pub(crate) fin: bool,
}

impl Chunk {
    /// Its bytes within the message.
    fn range(&self) -> Range<u32> {
        self.offset..self.offset + self.len
    }
}

/// What a message of so many bytes costs in flow control and in the send buffer.
fn cost(bytes: usize) -> u64 {
    bytes as u64 + MESSAGE_COST
}
