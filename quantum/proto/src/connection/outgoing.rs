//! Everything that waits to be sent besides messages and handshake bytes.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::{
    channel::Inbox,
    frame::Frame,
    recovery::SentFrame,
    types::{ChannelId, Space},
};

/// Path responses that wait; an attacker who sends more challenges gets no more answers.
const RESPONSES_MAX: usize = 8;

#[derive(Default)]
pub(super) struct Outgoing {
    /// Confirms the handshake to the client.
    pub(super) handshake_done: bool,
    /// Server: for the client's next connection.
    pub(super) visit_token: Option<Bytes>,
    /// Client: proves the address, in every initial packet.
    pub(super) retry_token: Option<Bytes>,
    max_data: Option<u64>,
    max_channel_data: VecDeque<(ChannelId, u64)>,
    /// Asks for an acknowledgement.
    pub(super) ping: bool,
    pub(super) responses: VecDeque<[u8; 8]>,
    pub(super) datagrams: VecDeque<Bytes>,
    /// Packets to send whatever the congestion window says, by space.
    probes: [u8; 3],
}

impl Outgoing {
    pub(super) fn push_datagram(&mut self, data: Bytes, max: usize) {
        if self.datagrams.len() >= max {
            self.datagrams.pop_front();
        }
        self.datagrams.push_back(data);
    }

    pub(super) fn push_response(&mut self, data: [u8; 8]) {
        if self.responses.len() < RESPONSES_MAX {
            self.responses.push_back(data);
        }
    }

    /// Responses that wait, and the most that there may be.
    pub(super) fn responses_kept(&self) -> (usize, usize) {
        (self.responses.len(), RESPONSES_MAX)
    }

    pub(super) fn probe(&mut self, space: Space, count: u8) {
        self.probes[space as usize] = count;
    }

    pub(super) fn wants_probe(&self, space: Space) -> bool {
        self.probes[space as usize] > 0
    }

    /// A packet that asks for an acknowledgement goes out: it serves as probe.
    pub(super) fn on_sent(&mut self, space: Space) {
        let probes = &mut self.probes[space as usize];
        *probes = probes.saturating_sub(1);
    }

    /// Control frames wait that belong to the application level.
    pub(super) fn has_control(&self) -> bool {
        self.handshake_done
            || self.ping
            || !self.responses.is_empty()
            || self.visit_token.is_some()
            || self.max_data.is_some()
            || !self.max_channel_data.is_empty()
    }

    /// Takes over the limits that the inbox wants to tell.
    pub(super) fn collect_credits(&mut self, inbox: &mut Inbox) {
        self.max_data = inbox.max_data().or(self.max_data);
        while let Some((channel, limit)) = inbox.max_channel_data() {
            self.max_channel_data.retain(|(waiting, _)| *waiting != channel);
            self.max_channel_data.push_back((channel, limit));
        }
    }

    pub(super) fn next_credit(&mut self) -> Option<(Frame, SentFrame)> {
        if let Some(limit) = self.max_data.take() {
            return Some((Frame::MaxData(limit), SentFrame::MaxData));
        }
        let (channel, limit) = self.max_channel_data.pop_front()?;
        Some((
            Frame::MaxChannelData(channel, limit),
            SentFrame::MaxChannelData(channel),
        ))
    }
}
