//! The connection's qlog: what is written, and when. Without a sink each of these is one comparison.

use crate::{
    connection::{Connection, closing::State, packet::Builder},
    error::ConnectionError,
    header::{Flags, Header},
    number::PacketNumber,
    params::Params,
    qlog::{Direction, Metrics, Owner, Packet, Qlog, QlogSink},
    recovery::SentPacket,
    time::Time,
    types::{ConnectionId, Level},
};

impl Connection {
    /// Writes a qlog from now on: best called before the first [`Self::poll_transmit`]. What happened before (on a server the first
    /// packet of the client) is not in it.
    pub fn set_qlog(&mut self, now: Time, sink: Box<dyn QlogSink>) {
        let mut qlog = Qlog::new(sink, now, self.side, self.ids.first());
        qlog.started(now, self.remote(), self.ids.first());
        qlog.parameters(now, Owner::Local, &Params::ours(&self.config, self.ids.first(), None));
        self.qlog = Some(Box::new(qlog));
        if self.confirmed {
            self.log_peer(now);
        }
        self.log_metrics(now);
    }

    /// The peer's transport parameters are known.
    pub(super) fn log_peer(&mut self, now: Time) {
        if let (Some(qlog), Some(peer)) = (&mut self.qlog, &self.peer) {
            qlog.parameters(now, Owner::Remote, peer);
        }
    }

    /// A packet is complete but for its header, and not sealed yet.
    pub(super) fn log_sent(&mut self, now: Time, packet: &Builder<'_>) {
        let Some(qlog) = &mut self.qlog else { return };
        let ack = packet.ack();
        let flags = match ack {
            Some(_) => packet.flags.with(Flags::ACK),
            None => packet.flags,
        };
        let packet = Packet {
            level: packet.level,
            number: packet.number,
            flags,
            id: self.ids.current(),
            ack,
            payload: packet.payload(),
        };
        qlog.packet(now, Direction::Sent, &packet);
    }

    /// A packet was opened that is no duplicate.
    pub(super) fn log_received(
        &mut self,
        now: Time,
        level: Level,
        number: PacketNumber,
        (flags, id): (Flags, ConnectionId),
        ack: PacketNumber,
        payload: &[u8],
    ) {
        let Some(qlog) = &mut self.qlog else { return };
        let packet = Packet {
            level,
            number,
            flags,
            id,
            ack: flags.has(Flags::ACK).then_some(ack),
            payload,
        };
        qlog.packet(now, Direction::Received, &packet);
    }

    pub(super) fn log_stateless(&mut self, now: Time, header: &Header) {
        if let Some(qlog) = &mut self.qlog {
            qlog.stateless(now, header);
        }
    }

    /// A packet did not open, or was there before.
    pub(super) fn log_dropped(&mut self, now: Time, header: &Header, duplicate: bool) {
        let Some(qlog) = &mut self.qlog else { return };
        let has_keys = header.flags.level().is_some_and(|level| self.keys.can_open(level));
        let trigger = match (duplicate, has_keys) {
            (true, _) => "duplicate",
            (false, true) => "payload_decrypt_error",
            (false, false) => "key_unavailable",
        };
        qlog.dropped(now, header, trigger);
    }

    pub(super) fn log_lost(&mut self, now: Time, packet: &SentPacket, timeout: bool) {
        if let Some(qlog) = &mut self.qlog {
            qlog.lost(now, packet.level, packet.number, timeout);
        }
    }

    /// After acknowledgements and losses.
    pub(super) fn log_metrics(&mut self, now: Time) {
        let Some(qlog) = &mut self.qlog else { return };
        let rtt = self.recovery.rtt();
        let metrics = Metrics {
            min_rtt: rtt.min,
            smoothed_rtt: rtt.smoothed,
            latest_rtt: rtt.latest,
            rtt_variance: rtt.variation,
            congestion_window: self.bbr.window(),
            bytes_in_flight: self.recovery.bytes_in_flight(),
            pacing_rate: self.bbr.pacing_rate(),
        };
        qlog.metrics(now, metrics, self.bbr.state());
    }

    pub(super) fn log_closed(&mut self, now: Time, error: &ConnectionError) {
        let Some(qlog) = &mut self.qlog else { return };
        let said = match &self.state {
            State::Closing(closing) => Some((closing.code, closing.reason.as_str())),
            _ => None,
        };
        qlog.closed(now, error, said);
    }
}
