//! The receiving side: reassembly, order, flow control.
//!
//! Owns the messages from their first bytes until the application takes them, and the credit of the peer.
//! Inputs: MESSAGE frames, in any order, repeated, cut anyhow; losses of the frames that announced credit.
//! Effects: whole messages, exactly once ([`Inbox::next`]); new limits to announce.
//! Invariants: messages come out in the order in which they became deliverable, whatever their channel; memory is bounded by the windows, since all that is
//! kept was charged and nothing keeps the buffer that a frame came in, and by `max_channels` (about 200 bytes for each used, and 8 KiB at worst where ids of unordered messages
//! are missing).
//! On failure: the peer broke a rule, and the connection is to be closed with the code of the error; the inbox is still sound.

mod assembly;
mod stream;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use self::stream::{Place, Stream, Verdict};
use crate::{
    channel::{
        cost,
        flow::{Window, window},
        table::Table,
    },
    config::TransportConfig,
    error::{CloseCode, TransportError},
    frame::MessageFrame,
    types::{ChannelId, Message, MessageId},
};

#[derive(Debug)]
struct Channel {
    window: Window,
    /// By [`Delivery`](crate::types::Delivery).
    streams: [Stream; 2],
    /// It stands in [`Inbox::due`].
    due: bool,
}

pub(crate) struct Inbox {
    max_channels: u32,
    max_message: u32,
    channel_window: u64,
    window: Window,
    channels: Table<Channel>,
    /// Whole messages that wait for the application, with the slots of their channels.
    ready: VecDeque<(u32, Message)>,
    /// Channels with a limit to announce.
    due: VecDeque<ChannelId>,
}

impl Inbox {
    /// The limits it begins with, which the transport parameters are to announce, are [`window`] of the configured ones.
    pub(crate) fn new(config: &TransportConfig) -> Self {
        Self {
            max_channels: config.max_channels,
            max_message: config.max_message,
            channel_window: window(config.channel_window, config.max_message),
            window: Window::new(window(config.receive_window, config.max_message)),
            channels: Table::new(),
            ready: VecDeque::new(),
            due: VecDeque::new(),
        }
    }

    /// # Errors
    /// More than flow control (FLOW_CONTROL) or the limits (LIMIT) allow, or a length that contradicts an earlier one (PROTOCOL).
    pub(crate) fn on_frame(&mut self, frame: MessageFrame) -> Result<(), TransportError> {
        let MessageFrame {
            channel: channel_id,
            delivery,
            id,
            data,
            ..
        } = frame;
        if channel_id.0 >= self.max_channels {
            return Err(TransportError::new(CloseCode::LIMIT, "a channel beyond the limit"));
        }
        let end = frame.offset.saturating_add(data.len() as u64);
        if end > u64::from(self.max_message) {
            return Err(TransportError::new(CloseCode::LIMIT, "a message longer than the limit"));
        }
        let place = Place {
            id: id.0,
            offset: frame.offset as u32,
            end: end as u32,
            fin: frame.fin,
        };
        let slot = self.channels.find_or_insert(channel_id, || Channel {
            window: Window::new(self.channel_window),
            streams: Default::default(),
            due: false,
        });
        let Channel { window, streams, .. } = &mut self.channels[slot];
        let stream = &mut streams[delivery as usize];
        let Verdict::New(charge) = stream.examine(place)? else {
            return Ok(());
        };
        self.window.charge(charge)?;
        window.charge(charge)?;
        if let Some(data) = stream.store(place, data) {
            stream.complete(delivery, id.0, data, |id, data| {
                self.ready.push_back((
                    slot,
                    Message {
                        channel: channel_id,
                        delivery,
                        id: MessageId(id),
                        data,
                    },
                ));
            });
        }
        Ok(())
    }

    /// The next whole message that may be delivered. Taking it gives the peer its credit back.
    pub(crate) fn next(&mut self) -> Option<Message> {
        let (slot, message) = self.ready.pop_front()?;
        let channel = &mut self.channels[slot];
        self.window.release(cost(message.data.len()));
        channel.window.release(cost(message.data.len()));
        if channel.window.is_due() && !channel.due {
            channel.due = true;
            self.due.push_back(message.channel);
        }
        Some(message)
    }

    pub(crate) fn has_messages(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Whether there is a limit to announce.
    pub(crate) fn has_credit(&self) -> bool {
        self.window.is_due() || !self.due.is_empty()
    }

    /// A new limit for the connection, when a good part of the window was used since the last one (or one was lost). It counts as
    /// announced: the caller sends it, or calls [`Self::on_max_data_lost`].
    pub(crate) fn max_data(&mut self) -> Option<u64> {
        self.window.announce()
    }

    /// The same for a channel.
    pub(crate) fn max_channel_data(&mut self) -> Option<(ChannelId, u64)> {
        let id = self.due.pop_front()?;
        let slot = self.channels.find(id)?;
        let channel = &mut self.channels[slot];
        channel.due = false;
        channel.window.announce().map(|limit| (id, limit))
    }

    pub(crate) fn on_max_data_lost(&mut self) {
        self.window.on_lost();
    }

    pub(crate) fn on_max_channel_data_lost(&mut self, channel: ChannelId) {
        let Some(slot) = self.channels.find(channel) else {
            return;
        };
        self.channels[slot].window.on_lost();
        if !self.channels[slot].due {
            self.channels[slot].due = true;
            self.due.push_back(channel);
        }
    }

    /// Bytes of memory that messages hold, the application's waiting ones included.
    #[cfg(test)]
    fn memory(&self) -> usize {
        let ready = self
            .ready
            .iter()
            .map(|(_, message)| message.data.len() + size_of::<(u32, Message)>())
            .sum::<usize>();
        let channels = (0..self.channels.len()).map(|slot| &self.channels[slot]);
        let streams = channels.flat_map(|channel| &channel.streams).map(Stream::memory);
        ready + streams.sum::<usize>()
    }
}
