//! What follows from acknowledgements and losses.

use crate::{
    bbr::AckEnd,
    connection::{Connection, Event},
    recovery::{Outcome, SentFrame},
    time::Time,
    types::{Level, Side},
};

impl Connection {
    /// Tells every part what became of the packets, and empties the outcome.
    pub(super) fn settle(&mut self, now: Time, outcome: &mut Outcome) {
        if self.protection.learn(outcome, self.path_began) {
            self.begin_rescue(now);
        }
        // RFC 9001 section 4.1.2: the server has opened it, so the handshake is over for both, though its HANDSHAKE_DONE may be lost.
        if self.side == Side::Client && outcome.acked.iter().any(|packet| packet.level == Level::Application) {
            self.confirm(now);
        }
        for packet in outcome.acked.drain(..) {
            let here = packet.number >= self.path_began;
            if packet.asks_for_ack && here {
                self.bbr.on_acked(now, packet.size, packet.sent_at, &packet.snapshot);
                self.pmtu.on_packet(now, packet.size, false);
            }
            for frame in packet.frames {
                self.on_frame_acked(now, frame, here);
            }
        }
        for packet in outcome.lost.drain(..) {
            self.stats.packets_lost += 1;
            self.log_lost(now, &packet, outcome.timeout);
            let here = packet.number >= self.path_began;
            // What was lost on an earlier path says nothing about this one, and a lost probe of the packet size nothing about congestion.
            if packet.asks_for_ack && here && !packet.is_mtu_probe() {
                self.bbr.on_lost(now, packet.size, &packet.snapshot);
                if self.pmtu.on_packet(now, packet.size, true) {
                    self.bbr.set_packet_size(self.pmtu.current());
                }
            }
            for frame in packet.frames {
                match frame {
                    SentFrame::MtuProbe(size) if here => self.pmtu.on_probe_lost(now, size),
                    frame => self.on_frame_lost(frame),
                }
            }
        }
        self.settle_rest(now, outcome);
        if self.outbox.take_writable() {
            self.events.push_back(Event::Writable);
        }
        self.close_when_idle(now);
    }

    fn settle_rest(&mut self, now: Time, outcome: &mut Outcome) {
        // A packet that was declared lost and is acknowledged because parity repaired it was lost all the same.
        let spurious = outcome
            .spurious
            .saturating_sub(u32::try_from(outcome.repaired).unwrap_or(u32::MAX));
        if spurious > 0 {
            self.stats.packets_spurious += u64::from(spurious);
            self.bbr.on_spurious(spurious);
        }
        self.stats.repaired_by_peer += outcome.repaired;
        if outcome.timeout {
            self.stats.timeouts += 1;
            self.bbr.on_timeout(now);
        }
        self.bbr.on_ack_end(
            now,
            AckEnd {
                rtt: outcome.rtt,
                smoothed_rtt: self.recovery.rtt().smoothed,
                in_flight: self.recovery.bytes_in_flight(),
                repaired: outcome.repaired,
                ecn_ce: outcome.ecn_ce,
            },
        );
        if let Some((space, count)) = outcome.probe {
            self.stats.probes += u64::from(count);
            self.outgoing.probe(space, count);
        }
        self.log_metrics(now);
        outcome.clear();
    }

    fn on_frame_acked(&mut self, now: Time, frame: SentFrame, here: bool) {
        match frame {
            SentFrame::Crypto(range) => self.handshake.on_acked(range),
            SentFrame::Message(chunk) | SentFrame::Repeat(chunk) => self.outbox.on_acked(chunk),
            SentFrame::MtuProbe(size) if here => {
                self.pmtu.on_probe_acked(now, size);
                self.bbr.set_packet_size(self.pmtu.current());
            }
            SentFrame::MaxData
            | SentFrame::MaxChannelData(_)
            | SentFrame::Floor
            | SentFrame::HandshakeDone
            | SentFrame::NewConnectionId(_)
            | SentFrame::RetireConnectionId(_)
            | SentFrame::Token
            | SentFrame::MtuProbe(_)
            | SentFrame::PathResponse => {}
        }
    }

    pub(super) fn on_frame_lost(&mut self, frame: SentFrame) {
        match frame {
            SentFrame::Crypto(range) => self.handshake.on_lost(range),
            SentFrame::Message(chunk) => self.outbox.on_lost(chunk),
            SentFrame::MaxData => self.inbox.on_max_data_lost(),
            SentFrame::MaxChannelData(channel) => self.inbox.on_max_channel_data_lost(channel),
            SentFrame::HandshakeDone => self.outgoing.handshake_done = true,
            SentFrame::NewConnectionId(sequence) | SentFrame::RetireConnectionId(sequence) => {
                self.ids.announce_again(sequence);
            }
            // A repetition is extra; a response is asked for again; a token is a convenience; FLOOR says when it is due.
            SentFrame::Repeat(_)
            | SentFrame::Floor
            | SentFrame::PathResponse
            | SentFrame::Token
            | SentFrame::MtuProbe(_) => {}
        }
    }
}
