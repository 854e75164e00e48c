//! Datagrams beside the stream of packets: challenges of the address before, probes of the packet size, the end.

use crate::{
    connection::{
        Connection, Transmit,
        closing::{CLOSE_REASON_MAX, State},
        packet::Builder,
    },
    error::TransportError,
    frame::Frame,
    header::{Flags, HEADER_LEN, TAG_LEN},
    pmtu::Pmtu,
    recovery::SentFrame,
    time::Time,
    types::{Level, Space},
};

/// A packet with CLOSE has no more bytes: type, code and length with at most 16, and the reason.
const CLOSE_MAX: usize = HEADER_LEN + 17 + CLOSE_REASON_MAX + TAG_LEN;

impl Connection {
    /// A challenge to the address before, or a probe of the packet size: datagrams of their own.
    ///
    /// # Errors
    /// It cannot be sealed; `out` then holds a part of it.
    pub(super) fn transmit_aside(&mut self, now: Time, out: &mut Vec<u8>) -> Result<Option<Transmit>, TransportError> {
        if !self.confirmed {
            return Ok(None);
        }
        let from = out.len();
        let (remote, limit, probe) = match self.paths.take_previous_challenge() {
            Some((remote, data)) => {
                let mut packet = self.begin_aside(usize::from(Pmtu::BASE), out);
                packet.put(&Frame::PathChallenge(data), None);
                self.send_packet(now, packet)?;
                let bytes = out.len() - from;
                // The address before was proved, so nothing is counted against it.
                self.count_datagram(bytes);
                return Ok(Some(Transmit {
                    remote,
                    bytes,
                    segment: bytes,
                    ecn: self.marking.mark(),
                }));
            }
            None => {
                if !self.may_probe_pmtu() {
                    return Ok(None);
                }
                let Some(size) = self.pmtu.probe(now) else {
                    return Ok(None);
                };
                (self.remote(), usize::from(size), SentFrame::MtuProbe(size))
            }
        };
        let mut packet = self.begin_aside(limit, out);
        packet.put(&Frame::Ping, Some(probe));
        packet.pad_to(from, limit);
        self.send_packet(now, packet)?;
        let bytes = out.len() - from;
        self.on_datagram_sent(bytes);
        Ok(Some(Transmit {
            remote,
            bytes,
            segment: bytes,
            ecn: self.marking.mark(),
        }))
    }

    pub(super) fn begin_aside<'a>(&mut self, limit: usize, out: &'a mut Vec<u8>) -> Builder<'a> {
        let ack = self.receipts[Space::Application as usize].acknowledgement();
        Builder::new(out, Level::Application, self.next_application_number(), ack, limit)
    }

    /// CLOSE at every level that the peer may have keys for.
    pub(super) fn transmit_close(&mut self, now: Time, out: &mut Vec<u8>) -> Option<Transmit> {
        let State::Closing(closing) = &self.state else {
            return None;
        };
        let frame = Frame::Close {
            code: closing.code,
            reason: closing.reason.clone(),
        };
        let from = out.len();
        for level in [Level::Initial, Level::Handshake, Level::Application] {
            let left = self.paths.current().allowance().saturating_sub(out.len() - from);
            if !self.keys.can_seal(level) || left < CLOSE_MAX {
                continue;
            }
            let number = self.recovery.next_number(level.space());
            let mut packet = Builder::new(out, level, number, None, CLOSE_MAX);
            packet.flags = packet.flags.with(Flags::FIN);
            packet.put(&frame, None);
            self.log_sent(now, &packet);
            let (start, head) = packet.complete(self.ids.current());
            if self.keys.seal(level, number, &head, out, start + HEADER_LEN).is_err() {
                out.truncate(start);
                continue;
            }
            self.recovery.skip(level.space(), number.next());
        }
        let bytes = out.len() - from;
        let transmit = self.transmit(bytes, bytes)?;
        self.on_datagram_sent(bytes);
        Some(transmit)
    }
}
