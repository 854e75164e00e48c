//! What goes out, and when.

use smallvec::SmallVec;

use crate::{
    connection::{
        Connection, Transmit,
        closing::State,
        contents::{Contents, MESSAGE_ROOM},
        packet::Builder,
    },
    error::TransportError,
    frame::{Frame, MAX_ACK_LEN},
    header::{Flags, HEADER_LEN, TAG_LEN},
    pmtu::Pmtu,
    recovery::{SentFrame, SentPacket},
    time::Time,
    types::{Level, Priority, Side, Space},
};

/// Datagrams that interactive packets may have in flight however small the congestion window is.
const URGENT_EXCESS: u64 = 8;
/// A shorter datagram may not have room for an acknowledgement and a little more.
const LEAST_DATAGRAM: usize = HEADER_LEN + TAG_LEN + MAX_ACK_LEN + 64;

/// What window and pacer allow now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Permit {
    /// Acknowledgements, probes and control frames.
    Control,
    /// And messages of this priority or more urgent.
    Messages(Priority),
}

impl Connection {
    /// Appends up to `max_datagrams` datagrams of equal size to `out`. `None`: nothing to send now.
    pub fn poll_transmit(&mut self, now: Time, max_datagrams: usize, out: &mut Vec<u8>) -> Option<Transmit> {
        match &mut self.state {
            State::Open { .. } => {}
            State::Closing(closing) => {
                return std::mem::take(&mut closing.due).then(|| self.transmit_close(now, out))?;
            }
            State::Draining | State::Drained => return None,
        }
        let from = out.len();
        self.transmit_open(now, max_datagrams, out).unwrap_or_else(|error| {
            // Nothing of a packet that is not sealed may go out, and the connection is over for what was.
            out.truncate(from);
            self.fail(now, error);
            self.poll_transmit(now, 1, out)
        })
    }

    fn transmit_open(
        &mut self,
        now: Time,
        max_datagrams: usize,
        out: &mut Vec<u8>,
    ) -> Result<Option<Transmit>, TransportError> {
        let from = out.len();
        if let Some(transmit) = self.transmit_aside(now, out)? {
            return Ok(Some(transmit));
        }
        let mut segment = 0;
        for count in 0..max_datagrams.max(1) {
            let limit = if count == 0 { self.datagram_limit() } else { segment };
            let at = out.len();
            if !self.build_datagram(now, limit, out)? {
                break;
            }
            let len = out.len() - at;
            self.on_datagram_sent(len);
            segment = segment.max(len);
            // Only full ones follow one another: a small one would set the size of all.
            if len < segment || segment < self.datagram_limit() {
                break;
            }
        }
        Ok(self.transmit(out.len() - from, segment))
    }

    pub(super) fn transmit(&self, bytes: usize, segment: usize) -> Option<Transmit> {
        (bytes > 0).then(|| Transmit {
            remote: self.remote(),
            bytes,
            segment,
            ecn: self.marking.mark(),
        })
    }

    pub(super) fn datagram_limit(&self) -> usize {
        if self.confirmed {
            usize::from(self.pmtu.current())
        } else {
            usize::from(Pmtu::BASE)
        }
    }

    /// Bytes that a datagram may have now: what an unproven address may still be sent, if that is enough to be of use.
    pub(super) fn sendable(&self) -> usize {
        let least = if self.confirmed {
            LEAST_DATAGRAM
        } else {
            usize::from(Pmtu::BASE)
        };
        let allowance = self.paths.current().allowance();
        if allowance < least {
            0
        } else {
            allowance.min(self.datagram_limit())
        }
    }

    pub(super) fn may_probe_pmtu(&self) -> bool {
        self.confirmed && self.paths.current().is_validated()
    }

    pub(super) fn count_datagram(&mut self, bytes: usize) {
        self.stats.datagrams_sent += 1;
        self.stats.bytes_sent += bytes as u64;
    }

    /// It goes to where the peer is now.
    pub(super) fn on_datagram_sent(&mut self, bytes: usize) {
        self.count_datagram(bytes);
        self.paths.current_mut().on_sent(bytes);
    }

    /// One datagram; `false`: nothing to send.
    fn build_datagram(&mut self, now: Time, limit: usize, out: &mut Vec<u8>) -> Result<bool, TransportError> {
        let sendable = self.sendable();
        self.recovery.set_blocked(sendable == 0);
        if sendable == 0 {
            return Ok(false);
        }
        let limit = limit.min(sendable);
        if self.confirmed {
            return self.build_application(now, limit, Level::Application, out);
        }
        self.repeat_last_flight(now, limit);
        let from = out.len();
        let levels: SmallVec<[Level; 2]> = [Level::Initial, Level::Handshake]
            .into_iter()
            .filter(|level| self.wants_crypto(now, *level))
            .collect();
        for (n, level) in levels.iter().enumerate() {
            let room = limit - (out.len() - from);
            let pads = n + 1 == levels.len() && levels.contains(&Level::Initial);
            self.build_crypto(now, *level, room, pads.then_some((from, limit)), out)?;
        }
        let (initial, used) = (levels.contains(&Level::Initial), out.len() - from);
        let level = if self.keys.can_seal(Level::Application) {
            Level::Application
        } else {
            Level::Early
        };
        if !initial && self.keys.can_seal(level) && limit - used > HEADER_LEN + TAG_LEN + MAX_ACK_LEN {
            self.build_application(now, limit - used, level, out)?;
        }
        Ok(out.len() > from)
    }

    /// Whether a packet of a handshake level has to go out.
    fn wants_crypto(&self, now: Time, level: Level) -> bool {
        let space = level.space();
        self.keys.can_seal(level)
            && (self.handshake.wants_to_send(level)
                || self.outgoing.wants_probe(space)
                || self.receipts[space as usize].due().is_some_and(|at| at <= now))
    }

    fn build_crypto(
        &mut self,
        now: Time,
        level: Level,
        limit: usize,
        pad: Option<(usize, usize)>,
        out: &mut Vec<u8>,
    ) -> Result<(), TransportError> {
        // A packet that has no room for anything useful is not begun.
        if limit < HEADER_LEN + TAG_LEN + MAX_ACK_LEN + 64 {
            return Ok(());
        }
        let space = level.space();
        let ack = self.receipts[space as usize].acknowledgement();
        let mut packet = Builder::new(out, level, self.recovery.next_number(space), ack, limit);
        self.put_ack(now, &mut packet);
        if let Some(token) = self.outgoing.retry_token.clone()
            && level == Level::Initial
        {
            packet.put_if_room(token.len() + 9, &Frame::Token(token), None);
        }
        while packet.room() > 32
            && let Some((range, data)) = self.handshake.next_crypto(level, packet.room() - 17)
        {
            packet.put(
                &Frame::Crypto {
                    offset: range.offset,
                    data,
                },
                Some(SentFrame::Crypto(range)),
            );
        }
        if self.outgoing.wants_probe(space) && !packet.asks_for_ack {
            packet.put(&Frame::Ping, None);
        }
        if let Some((from, bytes)) = pad
            && (packet.asks_for_ack || self.side == Side::Client)
        {
            packet.pad_to(from, bytes);
        }
        self.send_packet(now, packet)?;
        // RFC 9001 section 4.9.1: who sends with handshake keys has no use for the initial ones.
        if level == Level::Handshake && self.side == Side::Client {
            self.drop_level(Level::Initial);
        }
        Ok(())
    }

    /// Adds an ACK when there is anything to tell.
    fn put_ack(&mut self, now: Time, packet: &mut Builder<'_>) {
        let receipts = &mut self.receipts[packet.level.space() as usize];
        if packet.level == Level::Early || !receipts.has_news() || packet.room() < MAX_ACK_LEN {
            return;
        }
        let ack = receipts.ack(now);
        packet.put(&Frame::Ack(ack), None);
        receipts.on_ack_sent();
    }

    /// What window and pacer allow.
    fn permit(&mut self, now: Time, limit: usize) -> Permit {
        let (in_flight, window) = (self.recovery.bytes_in_flight(), self.bbr.window());
        if in_flight + limit as u64 > window {
            self.pacer.on_held_back();
            // What others have in flight does not hold an interactive message back, not even when the window has just shrunk.
            let excess = (window / 2).max(URGENT_EXCESS * limit as u64);
            // Nor do the copies that protect others, up to as much.
            let others = in_flight - self.recovery.copies_in_flight().min(window / 2);
            let fits = others + limit as u64 <= window;
            return match fits || self.recovery.interactive_in_flight() < excess {
                true => Permit::Messages(Priority::Interactive),
                false => Permit::Control,
            };
        }
        let release = self.pacer.release(now, self.bbr.pacing_rate(), self.bbr.send_quantum());
        match release {
            Some(at) => {
                self.timers.pacing = Some(at);
                Permit::Messages(Priority::Interactive)
            }
            None => Permit::Messages(Priority::Bulk),
        }
    }

    /// Whether window and pacer let the most urgent message go.
    pub(super) fn message_goes(&mut self, now: Time, limit: usize) -> bool {
        let urgency = self.outbox.most_urgent(false);
        urgency
            .is_some_and(|urgency| matches!(self.permit(now, limit), Permit::Messages(allowed) if urgency <= allowed))
    }

    /// A packet of the application space; `false`: nothing to send.
    fn build_application(
        &mut self,
        now: Time,
        limit: usize,
        level: Level,
        out: &mut Vec<u8>,
    ) -> Result<bool, TransportError> {
        let early = level == Level::Early;
        self.outgoing.collect_credits(&mut self.inbox);
        let space = &self.receipts[Space::Application as usize];
        let ack_due = !early && space.due().is_some_and(|at| at <= now);
        let probe = self.outgoing.wants_probe(Space::Application);
        let control = !early
            && (self.outgoing.has_control()
                || self.ids.has_announcements()
                || self.paths.current().has_pending_challenge()
                || self.handshake.wants_to_send(Level::Application));
        let contents = self.wanted(now, limit, early);
        if !(ack_due || probe || control) && contents.is_empty() {
            return Ok(false);
        }
        let messages = contents.messages.is_some();
        // Perhaps what is missing was too large for the path.
        let limit = if probe {
            limit.min(usize::from(Pmtu::BASE))
        } else {
            limit
        };
        let ack = (!early)
            .then(|| self.receipts[Space::Application as usize].acknowledgement())
            .flatten();
        let mut packet = Builder::new(out, level, self.next_application_number(), ack, limit);
        self.put_ack(now, &mut packet);
        if !early {
            self.put_control(&mut packet);
        }
        self.put_contents(now, &mut packet, contents);
        if probe {
            self.put_probe(&mut packet, early);
        }
        if packet.is_empty() {
            packet.discard();
            return Ok(false);
        }
        self.put_floor(&mut packet);
        if messages && packet.room() < MESSAGE_ROOM {
            // Datagrams of the same size go to the kernel together.
            packet.fill();
        }
        self.send_packet(now, packet)?;
        Ok(true)
    }

    /// What there is to send beside control frames, and may be sent now.
    fn wanted(&mut self, now: Time, limit: usize, early: bool) -> Contents {
        if !early && self.rescues(now, limit) {
            return Contents::rescue();
        }
        let urgency = self.outbox.most_urgent(early);
        let permit = if urgency.is_some() || !self.outgoing.datagrams.is_empty() {
            self.permit(now, limit)
        } else {
            self.note_app_limited();
            Permit::Control
        };
        let messages = match permit {
            Permit::Messages(allowed) => urgency.filter(|urgency| *urgency <= allowed).and(Some(allowed)),
            Permit::Control => None,
        };
        let parity = if early { None } else { self.protection.parity(now) };
        let repeats = if early || parity.is_some() {
            SmallVec::new()
        } else {
            self.protection.late_repeats(now)
        };
        Contents {
            early,
            urgency,
            messages,
            datagrams: !early && !self.outgoing.datagrams.is_empty() && permit == Permit::Messages(Priority::Bulk),
            parity,
            repeats,
            rescue: false,
        }
    }

    /// Window and pacer would allow more than there is.
    fn note_app_limited(&mut self) {
        let in_flight = self.recovery.bytes_in_flight();
        if in_flight < self.bbr.window() {
            self.bbr.on_app_limited(in_flight);
        }
    }

    /// Seals the packet and books it.
    pub(super) fn send_packet(&mut self, now: Time, mut packet: Builder<'_>) -> Result<(), TransportError> {
        let space = packet.level.space();
        if packet.level != Level::Early && self.receipts[space as usize].take_marked() {
            packet.flags = packet.flags.with(Flags::ECE);
        }
        self.log_sent(now, &packet);
        let (start, head) = packet.complete(self.ids.current());
        let Builder {
            out,
            level,
            number,
            flags,
            asks_for_ack,
            frames,
            copies,
            ..
        } = packet;
        self.keys.seal(level, number, &head, out, start + HEADER_LEN)?;
        let size = out.len() - start;
        self.stats.packets_sent += 1;
        let snapshot = if asks_for_ack {
            self.outgoing.on_sent(space);
            let snapshot = self.bbr.on_sent(now, size as u16, self.recovery.bytes_in_flight());
            self.pacer.on_sent(now, size as u64);
            snapshot
        } else {
            Default::default()
        };
        let interactive = flags.has(Flags::URG) && level == Level::Application;
        let size = size as u16;
        let sent = SentPacket {
            level,
            number,
            sent_at: now,
            size,
            asks_for_ack,
            interactive,
            copies: copies as u16,
            frames,
            snapshot,
        };
        self.recovery.on_sent(space, sent);
        Ok(())
    }
}
