//! Messages in channels: [`Outbox`] sends, [`Inbox`] receives.

mod inbox;
mod outbox;

pub(crate) use self::{inbox::Inbox, outbox::Outbox};

use crate::types::{ChannelId, Delivery, MessageId};

/// What a message costs in flow control beyond its bytes.
pub(crate) const MESSAGE_COST: u64 = 32;

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
