//! The sending side: queues by priority, what was lost, flow control.
//!
//! Owns the messages from `send` until they are acknowledged, and the credit that the peer gave.
//! Inputs: messages, limits, the fate of chunks (each may be acknowledged and lost several times, in any order, and overlap others).
//! Effects: chunks from [`Outbox::next`]; refusals from [`Outbox::send`].
//! Invariants: message ids are dense per channel and kind; a message goes out only with credit for all of it; every byte that was lost
//! and not acknowledged goes out again; a chunk costs amortised constant time, however many messages and channels wait.
//! On failure: limits under which something accepted can never be sent close the connection ([`Outbox::set_limits`]).

mod message;
mod schedule;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use bytes::Bytes;

use self::{
    message::{Outgoing, Stream},
    schedule::{Class, Lane, LaneId, LostMessage},
};
use crate::{
    channel::{Chunk, MESSAGE_COST, cost, flow::Credit, table::Table},
    error::{CloseCode, SendError, TransportError},
    types::{ChannelId, Delivery, Priority},
};

/// What the peer takes.
#[derive(Clone, Copy, Debug)]
struct Limits {
    channel_data: u64,
    channels: u32,
    message: u32,
}

impl Limits {
    fn check(&self, channel: ChannelId, bytes: usize) -> Result<(), SendError> {
        if channel.0 >= self.channels {
            return Err(SendError::NoSuchChannel { max: self.channels });
        }
        if bytes > self.message as usize {
            return Err(SendError::TooLarge {
                bytes,
                max: self.message as usize,
            });
        }
        Ok(())
    }
}

#[derive(Debug)]
struct Channel {
    id: ChannelId,
    credit: Credit,
    /// By [`Delivery`].
    streams: [Stream; 2],
    /// Messages with bytes that never went out: unordered ones by [`Priority`], then the ordered ones.
    lanes: [Lane; 4],
}

impl Channel {
    fn new(id: ChannelId, limit: u64) -> Self {
        Self {
            id,
            credit: Credit::new(limit),
            streams: Default::default(),
            lanes: Default::default(),
        }
    }
}

pub(crate) struct Outbox {
    channels: Table<Channel>,
    /// By [`Priority`].
    classes: [Class; 3],
    /// `None` until the peer, or a ticket of it, has named them.
    limits: Option<Limits>,
    credit: Credit,
    /// Lanes that wait for it: interactive ones, then the others.
    waiting: [VecDeque<LaneId>; 2],
    send_buffer: u64,
    /// Bytes of messages that wait or are in flight, and [`MESSAGE_COST`] for each that is still remembered: for those that
    /// are done, too, while an older one of the stream is not, so that their number is bounded.
    held: u64,
    /// The cost of the largest message that was refused since the sender was last told to try again.
    refused: Option<u64>,
}

impl Outbox {
    /// `send_buffer`: bytes of messages that may wait or be in flight.
    pub(crate) fn new(send_buffer: usize) -> Self {
        Self {
            channels: Table::new(),
            classes: Default::default(),
            limits: None,
            credit: Credit::default(),
            waiting: Default::default(),
            send_buffer: send_buffer as u64,
            held: 0,
            refused: None,
        }
    }

    /// What the peer takes, from its transport parameters. Before this nothing can be sent but up to the remembered limits of an earlier connection.
    ///
    /// # Errors
    /// A message that was accepted before the limits were known can never be sent, or more was sent early than the limits of this
    /// connection allow. The connection cannot keep its word and is to be closed.
    pub(crate) fn set_limits(
        &mut self,
        max_data: u64,
        max_channel_data: u64,
        max_channels: u32,
        max_message: u32,
    ) -> Result<(), TransportError> {
        // More than flow control lets through at once could never be sent.
        let largest = max_data.min(max_channel_data).saturating_sub(MESSAGE_COST);
        let message = u64::from(max_message).min(largest) as u32;
        let limits = Limits {
            channel_data: max_channel_data,
            channels: max_channels,
            message,
        };
        self.limits = Some(limits);
        let lower = || {
            TransportError::new(
                CloseCode::PARAMETERS,
                "the limits are lower than those of the earlier connection",
            )
        };
        if !self.credit.reset(max_data) {
            return Err(lower());
        }
        for slot in 0..self.channels.len() {
            let channel = &mut self.channels[slot];
            if !channel.credit.reset(max_channel_data) {
                return Err(lower());
            }
            for message in channel.streams.iter().flat_map(Stream::iter) {
                limits.check(channel.id, message.len() as usize).map_err(|error| {
                    TransportError::new(CloseCode::LIMIT, format!("a queued message cannot be sent: {error}"))
                })?;
            }
            self.wake(slot);
        }
        self.settle();
        Ok(())
    }

    pub(crate) fn on_max_data(&mut self, limit: u64) {
        self.credit.raise(limit);
        self.settle();
    }

    /// For a channel that was never used, or that does not exist, it means nothing: the peer has no cause to send it.
    pub(crate) fn on_max_channel_data(&mut self, channel: ChannelId, limit: u64) {
        let Some(slot) = self.channels.find(channel) else {
            return;
        };
        self.channels[slot].credit.raise(limit);
        self.wake(slot);
        self.settle();
    }

    /// Queues a whole message. `replay_safe`: may go into early packets.
    ///
    /// # Errors
    /// The message is not taken: the peer would not take it (once its limits are known), or the send buffer is full. A message
    /// larger than the whole buffer is taken when that is empty; once such a one was refused, so are all others until then.
    pub(crate) fn send(
        &mut self,
        channel: ChannelId,
        delivery: Delivery,
        priority: Priority,
        replay_safe: bool,
        data: Bytes,
    ) -> Result<(), SendError> {
        let bytes = data.len();
        match &self.limits {
            Some(limits) => limits.check(channel, bytes)?,
            None if bytes > u32::MAX as usize => {
                return Err(SendError::TooLarge {
                    bytes,
                    max: u32::MAX as usize,
                });
            }
            None => {}
        }
        let cost = cost(bytes);
        // One that is larger than the buffer waits for it to be empty, which it never is while others are taken.
        let others_wait = self.refused.is_some_and(|refused| refused > self.send_buffer);
        if self.held > 0 && (others_wait || self.held + cost > self.send_buffer) {
            self.refused = self.refused.max(Some(cost));
            return Err(SendError::Blocked);
        }
        self.held += cost;
        let limit = self.limits.map_or(0, |limits| limits.channel_data);
        let slot = self.channels.find_or_insert(channel, || Channel::new(channel, limit));
        let id = self.channels[slot].streams[delivery as usize].push(Outgoing::new(data, priority, replay_safe));
        self.enqueue(slot, delivery, priority, id);
        self.settle();
        Ok(())
    }

    /// The bytes of a chunk that was sent, to repeat them; `None` when it was acknowledged.
    pub(crate) fn unacked(&self, chunk: Chunk) -> Option<Bytes> {
        let slot = self.channels.find(chunk.channel)?;
        self.channels[slot].streams[chunk.delivery as usize]
            .find(chunk.id.0)?
            .unacked(chunk.range())
    }

    /// Whether the chunk is of an interactive message that is still remembered.
    pub(crate) fn is_interactive(&self, chunk: Chunk) -> bool {
        let stream = self
            .channels
            .find(chunk.channel)
            .map(|slot| &self.channels[slot].streams);
        let message = stream.and_then(|streams| streams[chunk.delivery as usize].find(chunk.id.0));
        message.is_some_and(|message| message.priority == Priority::Interactive)
    }

    pub(crate) fn on_acked(&mut self, chunk: Chunk) {
        let Some(slot) = self.channels.find(chunk.channel) else {
            return;
        };
        let stream = &mut self.channels[slot].streams[chunk.delivery as usize];
        let Some(message) = stream.find_mut(chunk.id.0) else {
            return;
        };
        let bytes = u64::from(message.len());
        if message.on_acked(chunk.range()) {
            self.held -= bytes;
            let first = stream.first;
            while stream.pop_done() {
                self.held -= MESSAGE_COST;
            }
            if stream.first != first {
                self.wake(slot);
            }
        }
        self.settle();
    }

    /// What of it is not acknowledged goes out again.
    pub(crate) fn on_lost(&mut self, chunk: Chunk) {
        let Some(slot) = self.channels.find(chunk.channel) else {
            return;
        };
        let Some(message) = self.channels[slot].streams[chunk.delivery as usize].find_mut(chunk.id.0) else {
            return;
        };
        message.on_lost(chunk.range());
        if message.has_lost() && !message.queued {
            message.queued = true;
            let class = message.priority as usize;
            self.classes[class].lost.push_back(LostMessage {
                slot,
                delivery: chunk.delivery,
                id: chunk.id.0,
            });
        }
        self.settle();
    }

    /// Nothing waits and nothing is in flight.
    pub(crate) fn is_idle(&self) -> bool {
        self.held == 0
    }

    /// `true` once after room was made for a sender that was told to wait: for the largest message that was refused, and at least
    /// a quarter of the buffer.
    pub(crate) fn take_writable(&mut self) -> bool {
        let Some(refused) = self.refused else { return false };
        let room = self.send_buffer.saturating_sub(self.held);
        let writable = self.held == 0 || room >= refused.max(self.send_buffer / 4);
        if writable {
            self.refused = None;
        }
        writable
    }
}
