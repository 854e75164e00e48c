//! What goes into a packet of the application space: control frames, messages and their protection, probes.

use bytes::Bytes;
use smallvec::SmallVec;

use crate::{
    channel::Chunk,
    connection::{
        Connection,
        packet::{Builder, DATAGRAM_OVERHEAD},
    },
    fec::PARITY_OVERHEAD,
    frame::{Frame, MAX_MESSAGE_HEADER, Parity, message_header_len, write_message},
    header::Flags,
    recovery::SentFrame,
    time::Time,
    types::{Level, Priority, Side, Space},
};

/// Less room than this is not worth a MESSAGE frame.
pub(super) const MESSAGE_ROOM: usize = MAX_MESSAGE_HEADER + 8;

/// What a packet of the application space is to hold beside control frames.
pub(super) struct Contents {
    pub(super) early: bool,
    /// Of the most urgent message that waits.
    pub(super) urgency: Option<Priority>,
    /// Messages of this priority, or more urgent ones.
    pub(super) messages: Option<Priority>,
    pub(super) datagrams: bool,
    pub(super) parity: Option<Parity>,
    /// Chunks that were sent before.
    pub(super) repeats: SmallVec<[Chunk; 2]>,
    /// Copies of what had no protection, and nothing else.
    pub(super) rescue: bool,
}

impl Contents {
    /// Copies of what had no protection, and nothing else.
    pub(super) fn rescue() -> Self {
        Self {
            early: false,
            urgency: None,
            messages: None,
            datagrams: false,
            parity: None,
            repeats: SmallVec::new(),
            rescue: true,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_none() && !self.datagrams && self.parity.is_none() && self.repeats.is_empty() && !self.rescue
    }
}

impl Connection {
    pub(super) fn put_control(&mut self, packet: &mut Builder<'_>) {
        if std::mem::take(&mut self.outgoing.handshake_done) {
            packet.put(&Frame::HandshakeDone, Some(SentFrame::HandshakeDone));
        }
        if let Some(data) = self.paths.current_mut().pending_challenge() {
            packet.put(&Frame::PathChallenge(data), None);
        }
        while packet.room() >= 9
            && let Some(data) = self.outgoing.responses.pop_front()
        {
            packet.put(&Frame::PathResponse(data), Some(SentFrame::PathResponse));
        }
        while packet.room() > 32
            && let Some((range, data)) = self.handshake.next_crypto(Level::Application, packet.room() - 17)
        {
            packet.put(
                &Frame::Crypto {
                    offset: range.offset,
                    data,
                },
                Some(SentFrame::Crypto(range)),
            );
        }
        if self.confirmed
            && let Some(token) = self.outgoing.visit_token.take()
            && !packet.put_if_room(token.len() + 9, &Frame::Token(token.clone()), Some(SentFrame::Token))
        {
            self.outgoing.visit_token = Some(token);
        }
        while packet.room() >= 41
            && let Some(sequence) = self.ids.next_announcement()
        {
            self.put_announcement(packet, sequence);
        }
        while packet.room() >= 17
            && let Some((frame, sent)) = self.outgoing.next_credit()
        {
            packet.put(&frame, Some(sent));
        }
        if std::mem::take(&mut self.outgoing.ping) && !packet.asks_for_ack {
            packet.put(&Frame::Ping, None);
        }
    }

    fn put_announcement(&mut self, packet: &mut Builder<'_>, sequence: u64) {
        match self.side {
            Side::Server => {
                if let Some((id, reset_token)) = self.ids.given(sequence) {
                    let frame = Frame::NewConnectionId {
                        sequence,
                        id,
                        reset_token,
                    };
                    packet.put(&frame, Some(SentFrame::NewConnectionId(sequence)));
                }
            }
            Side::Client => {
                let frame = Frame::RetireConnectionId(sequence);
                packet.put(&frame, Some(SentFrame::RetireConnectionId(sequence)));
            }
        }
    }

    /// What `wanted` names, as far as there is room.
    pub(super) fn put_contents(&mut self, now: Time, packet: &mut Builder<'_>, wanted: Contents) {
        let Contents {
            early,
            urgency,
            messages,
            datagrams,
            parity,
            repeats,
            rescue,
        } = wanted;
        if rescue {
            return self.put_rescue(packet);
        }
        // A parity travels without messages. It does not fit when the path takes less than when its block was made: then it is given up.
        if parity.is_some_and(|parity| self.put_parity(packet, parity)) {
            return;
        }
        // One goes ahead of messages that are not urgent, or it would wait for as long as there are any.
        if datagrams && urgency != Some(Priority::Interactive) {
            self.put_datagram(packet);
        }
        if let Some(allowed) = messages {
            self.put_messages(now, packet, allowed, urgency, early);
        }
        while datagrams && self.put_datagram(packet) {}
        if !packet.is_sealed() {
            repeats.into_iter().for_each(|chunk| self.put_repeat(packet, chunk));
        }
    }

    fn put_parity(&mut self, packet: &mut Builder<'_>, parity: Parity) -> bool {
        let before = packet.payload().len();
        let bytes = parity.symbol.len() + PARITY_OVERHEAD;
        let fits = packet.put_if_room(bytes, &Frame::Parity(parity), None);
        if fits {
            packet.flags = packet.flags.with(Flags::FEC).with(Flags::URG);
            packet.copies += packet.payload().len() - before;
            self.stats.parity_sent += 1;
        }
        fits
    }

    fn put_messages(
        &mut self,
        now: Time,
        packet: &mut Builder<'_>,
        allowed: Priority,
        urgency: Option<Priority>,
        early: bool,
    ) {
        let interactive = urgency == Some(Priority::Interactive) && !early;
        let protects = interactive && self.protection.may_protect();
        // What is protected is kept small: nothing else rides along.
        let allowed = if protects { Priority::Interactive } else { allowed };
        if protects {
            packet.reserve(PARITY_OVERHEAD);
        }
        let mut chunks: SmallVec<[Chunk; 4]> = SmallVec::new();
        while packet.room() >= MESSAGE_ROOM {
            let room = packet.room();
            let budget = |channel, id, offset| room - message_header_len(channel, id, offset, room);
            let Some((chunk, data)) = self.outbox.next(allowed, budget, early) else {
                break;
            };
            put_message(packet, chunk, &data);
            packet.frames.push(SentFrame::Message(chunk));
            chunks.push(chunk);
        }
        if interactive && !chunks.is_empty() {
            self.protect(now, packet, &chunks);
        }
    }

    fn protect(&mut self, now: Time, packet: &mut Builder<'_>, chunks: &[Chunk]) {
        packet.flags = packet.flags.with(Flags::URG);
        let rtt = self.recovery.rtt().smoothed;
        let plan = self.protection.plan(now, rtt, chunks);
        for chunk in self.protection.repeats() {
            self.put_repeat(packet, chunk);
        }
        if self
            .protection
            .on_interactive(now, packet.number, packet.payload(), chunks, plan.as_ref())
        {
            packet.flags = packet.flags.with(Flags::FEC);
            // The block holds the payload as it is now.
            packet.seal_frames();
        }
    }

    /// Bytes that another packet holds too, as far as they are not acknowledged and there is room.
    pub(super) fn put_repeat(&mut self, packet: &mut Builder<'_>, chunk: Chunk) {
        let len = chunk.len as usize;
        if len + message_header_len(chunk.channel, chunk.id, chunk.offset, len) <= packet.room()
            && let Some(data) = self.outbox.unacked(chunk)
        {
            self.put_copy(packet, chunk, &data);
        }
    }

    pub(super) fn put_copy(&mut self, packet: &mut Builder<'_>, chunk: Chunk, data: &[u8]) {
        let before = packet.payload().len();
        put_message(packet, chunk, data);
        packet.copies += packet.payload().len() - before;
        packet.frames.push(SentFrame::Repeat(chunk));
        self.stats.repeated_bytes += data.len() as u64;
    }

    /// The oldest unreliable datagram, if there is one and it fits.
    fn put_datagram(&mut self, packet: &mut Builder<'_>) -> bool {
        let room = packet.room();
        let fits = |data: &mut Bytes| data.len() + DATAGRAM_OVERHEAD <= room;
        let Some(data) = self.outgoing.datagrams.pop_front_if(fits) else {
            return false;
        };
        packet.put(&Frame::Datagram(data), None);
        true
    }

    /// A probe carries what is waited for most: data that is not acknowledged; failing that, a PING.
    pub(super) fn put_probe(&mut self, packet: &mut Builder<'_>, early: bool) {
        packet.flags = if early {
            packet.flags
        } else {
            packet.flags.with(Flags::PSH)
        };
        if packet.is_sealed() || packet.asks_for_ack {
            return;
        }
        let waiting = self
            .recovery
            .in_flight(Space::Application)
            .flat_map(|sent| &sent.frames);
        let chunks: SmallVec<[Chunk; 4]> = waiting
            .filter_map(|frame| match frame {
                SentFrame::Message(chunk) => Some(*chunk),
                _ => None,
            })
            .take(4)
            .collect();
        let copies = packet.copies;
        for chunk in chunks {
            self.put_repeat(packet, chunk);
        }
        // They stand for a packet that is taken for lost, and protect none.
        packet.copies = copies;
        if !packet.asks_for_ack {
            packet.put(&Frame::Ping, None);
        }
    }

    pub(super) fn put_floor(&mut self, packet: &mut Builder<'_>) {
        if packet.level == Level::Early || !packet.asks_for_ack || packet.is_sealed() || packet.room() < 9 {
            return;
        }
        if self.recovery.wants_floor(Space::Application) {
            packet.put(
                &Frame::Floor(self.recovery.floor(Space::Application)),
                Some(SentFrame::Floor),
            );
        }
    }
}

fn put_message(packet: &mut Builder<'_>, chunk: Chunk, data: &[u8]) {
    write_message(chunk, data, packet.out);
    packet.asks_for_ack = true;
}
