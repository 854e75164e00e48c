//! The receiving side: reassembly, order, flow control.

use crate::{
    channel::MESSAGE_COST,
    config::TransportConfig,
    error::TransportError,
    frame::MessageFrame,
    types::{ChannelId, Message},
};

pub(crate) struct Inbox {}

impl Inbox {
    pub(crate) fn new(_config: &TransportConfig) -> Self {
        let _ = MESSAGE_COST;
        todo!()
    }

    /// # Errors
    /// More than flow control or the limits allow, or bytes that contradict earlier ones.
    pub(crate) fn on_frame(&mut self, _frame: MessageFrame) -> Result<(), TransportError> {
        todo!()
    }

    /// The next whole message that may be delivered.
    pub(crate) fn next(&mut self) -> Option<Message> {
        todo!()
    }

    pub(crate) fn has_messages(&self) -> bool {
        todo!()
    }

    /// A new limit for the connection, when a good part of the window was used since the last one (or one was lost).
    pub(crate) fn max_data(&mut self) -> Option<u64> {
        todo!()
    }

    pub(crate) fn max_channel_data(&mut self) -> Option<(ChannelId, u64)> {
        todo!()
    }

    pub(crate) fn on_max_data_lost(&mut self) {
        todo!()
    }

    pub(crate) fn on_max_channel_data_lost(&mut self, _channel: ChannelId) {
        todo!()
    }
}
