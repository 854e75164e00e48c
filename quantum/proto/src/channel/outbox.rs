//! The sending side: queues by priority, what was lost, flow control.

use bytes::Bytes;

use crate::{
    channel::Chunk,
    error::SendError,
    types::{ChannelId, Delivery, Priority},
};

pub(crate) struct Outbox {}

impl Outbox {
    /// `send_buffer`: bytes of messages that may wait or be in flight.
    pub(crate) fn new(_send_buffer: usize) -> Self {
        todo!()
    }

    /// What the peer takes, from its transport parameters. Before this nothing can be sent but up to the remembered limits of an earlier connection.
    pub(crate) fn set_limits(&mut self, _max_data: u64, _max_channel_data: u64, _max_channels: u32, _max_message: u32) {
        todo!()
    }

    pub(crate) fn on_max_data(&mut self, _limit: u64) {
        todo!()
    }

    pub(crate) fn on_max_channel_data(&mut self, _channel: ChannelId, _limit: u64) {
        todo!()
    }

    /// Queues a whole message. `replay_safe`: may go into early packets.
    pub(crate) fn send(
        &mut self,
        _channel: ChannelId,
        _delivery: Delivery,
        _priority: Priority,
        _replay_safe: bool,
        _data: Bytes,
    ) -> Result<(), SendError> {
        todo!()
    }

    /// The most urgent thing that could be sent now, flow control considered.
    pub(crate) fn most_urgent(&self, _early: bool) -> Option<Priority> {
        todo!()
    }

    /// The next bytes of that priority or more urgent; `budget` counts the bytes of message data. Lost bytes come first.
    pub(crate) fn next(&mut self, _at_least: Priority, _budget: usize, _early: bool) -> Option<(Chunk, Bytes)> {
        todo!()
    }

    /// The bytes of a chunk that was sent, to repeat them; `None` when it was acknowledged.
    pub(crate) fn unacked(&self, _chunk: Chunk) -> Option<Bytes> {
        todo!()
    }

    /// The oldest bytes that were sent and are neither acknowledged nor about to go out again, for a probe.
    pub(crate) fn oldest_unacked(&self, _budget: usize) -> Option<(Chunk, Bytes)> {
        todo!()
    }

    pub(crate) fn on_acked(&mut self, _chunk: Chunk) {
        todo!()
    }

    /// What of it is not acknowledged goes out again.
    pub(crate) fn on_lost(&mut self, _chunk: Chunk) {
        todo!()
    }

    /// Nothing waits and nothing is in flight.
    pub(crate) fn is_idle(&self) -> bool {
        todo!()
    }

    /// `true` once after room was made for a sender that was told to wait.
    pub(crate) fn take_writable(&mut self) -> bool {
        todo!()
    }
}
