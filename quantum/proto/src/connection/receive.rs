//! From datagrams to what they bring about.

use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};

use crate::{
    connection::{Connection, Event, closing::State, frequency},
    endpoint::{EndpointEvent, ToEndpoint},
    error::{CloseCode, ConnectionError, TransportError},
    frame::{Ack, Frame, Frames},
    header::{Flags, HEADER_LEN, Header, VERSION},
    number::PacketNumber,
    recovery::SentPacket,
    time::Time,
    types::{ConnectionId, Ecn, Level, Side, Space},
};

const MISPLACED: &str = "a frame that is not allowed at its level";
/// Unreliable datagrams that wait for the application.
pub(super) const DATAGRAMS_MAX: usize = 256;

/// An opened packet.
struct Opened {
    level: Level,
    number: PacketNumber,
    flags: Flags,
    id: ConnectionId,
    /// The header's acknowledgement, in full.
    ack: PacketNumber,
    payload: Bytes,
}

fn violation(reason: &'static str) -> TransportError {
    TransportError::new(CloseCode::PROTOCOL, reason)
}

impl Connection {
    /// Returns whether a packet in it was opened and is the newest of its number space.
    pub(super) fn on_datagram(
        &mut self,
        now: Time,
        remote: SocketAddr,
        ecn: Option<Ecn>,
        mut datagram: BytesMut,
    ) -> bool {
        // Only the client's address may change, and only once the handshake is over.
        if remote != self.remote() && (self.side == Side::Client || !self.confirmed) {
            self.stats.packets_rejected += 1;
            return false;
        }
        self.stats.bytes_received += datagram.len() as u64;
        if remote == self.remote() {
            self.paths.current_mut().on_received(datagram.len());
        }
        match &mut self.state {
            State::Open { .. } => {}
            State::Closing(closing) => {
                closing.on_packet();
                return false;
            }
            State::Draining | State::Drained => return false,
        }
        let mut newest = false;
        while let Ok(header) = Header::decode(&datagram) {
            let packet = datagram.split_to(HEADER_LEN + usize::from(header.payload_len));
            if header.flags.has(Flags::RST) {
                self.on_stateless(now, &header, packet);
            } else if header.version == VERSION {
                newest |= self.on_packet(now, remote, ecn, &header, packet);
            }
            if !self.state.is_open() {
                return newest;
            }
        }
        self.want_ids();
        newest
    }

    /// Returns whether it was opened and is the newest of its number space.
    fn on_packet(
        &mut self,
        now: Time,
        remote: SocketAddr,
        ecn: Option<Ecn>,
        header: &Header,
        packet: BytesMut,
    ) -> bool {
        let Some(opened) = self.open(header, packet) else {
            self.stats.packets_rejected += u64::from(!self.is_late(header));
            self.log_dropped(now, header, false);
            if self.keys.integrity_exhausted() {
                self.fail(
                    now,
                    TransportError::new(CloseCode::KEYS, "too many packets did not open"),
                );
            }
            return false;
        };
        let receipts = &self.receipts[opened.level.space() as usize];
        if receipts.is_duplicate(opened.number) {
            self.stats.packets_duplicate += 1;
            self.log_dropped(now, header, true);
            return false;
        }
        let newest = opened.number >= receipts.expected();
        self.stats.packets_received += 1;
        if !std::mem::replace(&mut self.heard, true) && std::mem::take(&mut self.version_refused) {
            self.timers.restart_handshake(now);
        }
        self.on_alive(now);
        if opened.level == Level::Application && newest {
            self.keys.on_accepted(opened.number);
            let same_id = opened.id == self.ids.current();
            self.ids.follow(opened.id);
            if remote != self.remote() {
                self.migrate(now, remote, same_id);
            }
        }
        let Opened {
            level,
            number,
            flags,
            id,
            ack,
            ..
        } = opened;
        self.log_received(now, level, number, (flags, id), ack, &opened.payload);
        if let Err(error) = self.take_packet(now, ecn, opened) {
            self.fail(now, error);
        }
        newest
    }

    /// It belongs to the handshake, which is over: most likely a repetition that was not needed.
    fn is_late(&self, header: &Header) -> bool {
        let level = header.flags.level();
        let handshake = level.filter(|level| matches!(level, Level::Initial | Level::Handshake));
        self.confirmed && handshake.is_some_and(|level| !self.keys.can_open(level))
    }

    /// `None` when it is not for us, damaged, forged, or its keys are not there.
    fn open(&mut self, header: &Header, mut packet: BytesMut) -> Option<Opened> {
        let level = header.flags.level()?;
        let number = header.full_number(self.receipts[level.space() as usize].expected());
        let mut payload = packet.split_off(HEADER_LEN);
        let len = self.keys.open(level, number, &packet, &mut payload).ok()?;
        payload.truncate(len);
        let ack = match header.flags.has(Flags::ACK) {
            true => PacketNumber::extend(header.ack, self.recovery.next_number(level.space())),
            false => PacketNumber::ZERO,
        };
        Some(Opened {
            level,
            number,
            flags: header.flags,
            id: header.id,
            ack,
            payload: payload.freeze(),
        })
    }

    fn take_packet(&mut self, now: Time, ecn: Option<Ecn>, opened: Opened) -> Result<(), TransportError> {
        let Opened {
            level,
            number,
            flags,
            ack,
            payload,
            ..
        } = opened;
        if level == Level::Handshake && self.side == Side::Server {
            // Only who got our first flight has these keys: the address is real.
            self.paths.current_mut().validate();
            self.recovery.set_blocked(false);
            self.drop_level(Level::Initial);
        }
        let mut repaired = Vec::new();
        let mut frames = Taken::default();
        let origin = Origin { level, number, ack };
        self.take_frames(now, origin, payload.clone(), &mut frames, &mut repaired)?;
        if !self.state.is_open() {
            return Ok(());
        }
        if flags.has(Flags::ACK) && !frames.acked {
            self.on_ack(now, level, ack, None)?;
        }
        if flags.has(Flags::FEC) && level == Level::Application && !frames.parity {
            self.protection
                .on_source(number, Bytes::copy_from_slice(&payload), &mut repaired);
        }
        let at_once = flags.has(Flags::PSH) && level == Level::Application;
        let every = self.ack_frequency.on_packet(now, self.recovery.rtt().smoothed);
        let receipts = &mut self.receipts[level.space() as usize];
        if level == Level::Application {
            // While packets are missing the sender waits to hear of the others.
            let every = if receipts.has_gaps() { frequency::LEAST } else { every };
            receipts.set_frequency(every);
        }
        receipts.on_packet(now, number, frames.asks, at_once, ecn);
        for (number, payload) in repaired {
            self.take_repaired(now, number, payload)?;
        }
        Ok(())
    }

    /// A packet that parity restored is handled as if it had arrived; nothing in it is a sign of life or of the path.
    pub(super) fn take_repaired(
        &mut self,
        now: Time,
        number: PacketNumber,
        payload: Bytes,
    ) -> Result<(), TransportError> {
        let receipts = &mut self.receipts[Level::Application.space() as usize];
        if receipts.is_duplicate(number) || !self.state.is_open() {
            return Ok(());
        }
        receipts.on_repaired(now, number);
        self.stats.repaired += 1;
        let origin = Origin {
            level: Level::Application,
            number,
            ack: PacketNumber::ZERO,
        };
        for frame in Frames::new(origin.ack, payload) {
            // CLOSE was the last word.
            if !self.state.is_open() {
                return Ok(());
            }
            match frame {
                // Its acknowledgement counts from a header that was not restored; a later one says the same.
                Ok(Frame::Ack(_)) | Err(_) => {}
                Ok(frame) if !allowed(origin.level, self.side, &frame) => return Err(violation(MISPLACED)),
                Ok(frame) => self.take_frame(now, origin, frame, &mut Vec::new())?,
            }
        }
        Ok(())
    }

    fn take_frames(
        &mut self,
        now: Time,
        origin: Origin,
        payload: Bytes,
        taken: &mut Taken,
        repaired: &mut Vec<(PacketNumber, Bytes)>,
    ) -> Result<(), TransportError> {
        for frame in Frames::new(origin.ack, payload) {
            let frame = frame?;
            if !allowed(origin.level, self.side, &frame) {
                return Err(violation(MISPLACED));
            }
            taken.asks |= frame.asks_for_ack();
            taken.acked |= matches!(frame, Frame::Ack(_));
            taken.parity |= matches!(frame, Frame::Parity(_));
            self.take_frame(now, origin, frame, repaired)?;
            if !self.state.is_open() {
                return Ok(());
            }
        }
        Ok(())
    }

    fn take_frame(
        &mut self,
        now: Time,
        origin: Origin,
        frame: Frame,
        repaired: &mut Vec<(PacketNumber, Bytes)>,
    ) -> Result<(), TransportError> {
        let Origin { level, number, ack } = origin;
        match frame {
            Frame::Padding(_) | Frame::Ping => {}
            Frame::Ack(frame) => self.on_ack(now, level, ack, Some(&frame))?,
            Frame::Crypto { offset, data } => {
                let progress = self.handshake.read(level, offset, &data, &mut self.keys)?;
                self.on_progress(now, progress)?;
            }
            Frame::Floor(floor) if floor > number => return Err(violation("a FLOOR above its own packet")),
            Frame::Floor(floor) => self.receipts[level.space() as usize].on_floor(floor),
            Frame::MaxData(limit) => self.outbox.on_max_data(limit),
            Frame::MaxChannelData(channel, limit) => self.outbox.on_max_channel_data(channel, limit),
            Frame::PathChallenge(data) => self.outgoing.push_response(data),
            Frame::PathResponse(data) => self.on_path_response(data),
            Frame::NewConnectionId {
                sequence,
                id,
                reset_token,
            } => {
                if self.ids.learn(sequence, id, reset_token)? {
                    self.endpoint_events.push_back(EndpointEvent(ToEndpoint::Learned(id)));
                }
            }
            Frame::RetireConnectionId(sequence) => {
                let linger = self.linger();
                self.ids.retire(now, linger, sequence)?;
            }
            // The endpoint has looked at a server's; a client keeps it for its next connection.
            Frame::Token(token) => {
                if self.side == Side::Client && level == Level::Application {
                    self.visit_token = Some(Bytes::copy_from_slice(&token));
                }
            }
            Frame::HandshakeDone => self.confirm(now),
            Frame::Close { code, reason } => {
                let error = TransportError::new(code, reason);
                self.drain(now, ConnectionError::ClosedByPeer(error));
            }
            Frame::Parity(mut parity) => {
                parity.symbol = Bytes::copy_from_slice(&parity.symbol);
                self.protection.on_parity(parity, repaired)?;
            }
            Frame::Message(frame) => {
                let had = self.inbox.has_messages();
                self.inbox.on_frame(frame)?;
                if !had && self.inbox.has_messages() {
                    self.events.push_back(Event::Readable);
                }
            }
            Frame::Datagram(data) => self.on_datagram_frame(data)?,
        }
        Ok(())
    }

    fn on_datagram_frame(&mut self, data: Bytes) -> Result<(), TransportError> {
        if data.len() > usize::from(self.config.max_datagram) {
            return Err(TransportError::new(CloseCode::LIMIT, "a datagram that is too long"));
        }
        if self.datagrams_in.is_empty() {
            self.events.push_back(Event::DatagramReadable);
        }
        if self.datagrams_in.len() >= DATAGRAMS_MAX {
            self.datagrams_in.pop_front();
        }
        // A copy of it alone, as of all that is kept of a payload: it must not keep everything that was received with it.
        self.datagrams_in.push_back(Bytes::copy_from_slice(&data));
        Ok(())
    }

    pub(super) fn on_ack(
        &mut self,
        now: Time,
        level: Level,
        ack: PacketNumber,
        frame: Option<&Ack>,
    ) -> Result<(), TransportError> {
        let mut outcome = std::mem::take(&mut self.outcome);
        let space = level.space();
        let before = self.recovery.largest_acked(space);
        let result = self.recovery.on_ack(now, space, ack, frame, &mut outcome);
        let here = |packet: &&SentPacket| space != Space::Application || packet.number >= self.path_began;
        let acked = outcome.acked.iter().filter(here).count() as u64;
        if acked > 0 {
            self.marking.on_heard();
        }
        // One that was overtaken has counts of before those that are known.
        if let Some(frame) = frame
            && space == Space::Application
            && self.recovery.largest_acked(space) > before
        {
            self.marking.on_ack(frame, acked);
        }
        self.settle(now, &mut outcome);
        self.outcome = outcome;
        result
    }
}

/// The packet that a frame stood in.
#[derive(Clone, Copy)]
struct Origin {
    level: Level,
    number: PacketNumber,
    /// The header's acknowledgement.
    ack: PacketNumber,
}

/// What was found in a packet.
#[derive(Default)]
struct Taken {
    asks: bool,
    acked: bool,
    parity: bool,
}

/// Which frames may stand at which level. `side` is ours.
fn allowed(level: Level, side: Side, frame: &Frame) -> bool {
    match level {
        Level::Initial | Level::Handshake => matches!(
            frame,
            Frame::Padding(_)
                | Frame::Ping
                | Frame::Ack(_)
                | Frame::Crypto { .. }
                | Frame::Close { .. }
                | Frame::Token(_)
        ),
        Level::Early => matches!(frame, Frame::Padding(_) | Frame::Ping | Frame::Message(_)),
        Level::Application => match frame {
            Frame::HandshakeDone | Frame::NewConnectionId { .. } | Frame::Token(_) => side == Side::Client,
            _ => true,
        },
    }
}
