//! Loss recovery: what is in flight, what was acknowledged, what is lost, and when to probe.
//!
//! Owns the sent packets of all spaces, the RTT estimate and the loss timers.
//! Inputs: packets sent, acknowledgements, the timer.
//! Effects: [`Outcome`]: packets acknowledged and lost, to be handed to what they held.
//! Invariants: a packet is reported at most once as acknowledged and at most once as lost; lost before acknowledged is spurious;
//! bytes in flight are those of packets that count and are neither.
//! On failure: an acknowledgement of what was never sent is a PROTOCOL error.

use std::time::Duration;

use smallvec::SmallVec;

use crate::{
    bbr::Snapshot,
    channel::Chunk,
    error::TransportError,
    frame::Ack,
    handshake::CryptoRange,
    number::PacketNumber,
    time::Time,
    types::{ChannelId, Space},
};

/// What a sent packet held, as far as it matters when it is acknowledged or lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SentFrame {
    Crypto(CryptoRange),
    Message(Chunk),
    /// A repetition of what another packet holds: acknowledging it counts, losing it does not.
    Repeat(Chunk),
    MaxData,
    MaxChannelData(ChannelId),
    Floor,
    HandshakeDone,
    NewConnectionId(u64),
    RetireConnectionId(u64),
    Token,
    /// A PMTU probe of this size.
    MtuProbe(u16),
    PathResponse,
}

/// A packet that was sent.
#[derive(Clone, Debug)]
pub(crate) struct SentPacket {
    pub(crate) number: PacketNumber,
    pub(crate) sent_at: Time,
    /// Bytes of the packet, header and tag included.
    pub(crate) size: u16,
    /// It is to be acknowledged. Such packets count as in flight.
    pub(crate) asks_for_ack: bool,
    /// It holds interactive messages or their protection.
    pub(crate) interactive: bool,
    /// The largest number that the ACK in it reported: once it is acknowledged, older receipts may be forgotten.
    pub(crate) reported: Option<PacketNumber>,
    pub(crate) frames: SmallVec<[SentFrame; 3]>,
    /// The state of delivery when it was sent.
    pub(crate) snapshot: Snapshot,
}

/// What an acknowledgement or a timer brought about.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Newly acknowledged, rising.
    pub(crate) acked: Vec<SentPacket>,
    /// Newly lost, rising.
    pub(crate) lost: Vec<SentPacket>,
    /// Those of `acked` that had been declared lost: their numbers.
    pub(crate) spurious: u32,
    /// A sample of the round trip.
    pub(crate) rtt: Option<Duration>,
    /// Packets the peer repaired from parity since the last acknowledgement.
    pub(crate) repaired: u64,
    /// Newly reported as marked CE.
    pub(crate) ecn_ce: u64,
    /// Probes to send now in this space, whatever the congestion window says.
    pub(crate) probe: Option<(Space, u8)>,
    /// The retransmission timeout expired: everything in flight counts as lost and the path starts anew.
    pub(crate) timeout: bool,
}

pub(crate) struct Recovery {}

impl Recovery {
    pub(crate) fn new(_initial_rtt: Duration) -> Self {
        todo!()
    }

    /// The number that the next packet of the space will have. Numbers are skipped now and then: see [`Self::skip`].
    pub(crate) fn next_number(&self, _space: Space) -> PacketNumber {
        todo!()
    }

    /// Leaves numbers out, up to `to`: an acknowledgement of them proves a lying peer.
    pub(crate) fn skip(&mut self, _space: Space, _to: PacketNumber) {
        todo!()
    }

    pub(crate) fn on_sent(&mut self, _space: Space, _packet: SentPacket) {
        todo!()
    }

    /// `acknowledgement` is the header's (everything below is settled); `ack` the frame's, if there was one.
    ///
    /// # Errors
    /// It names numbers that were never sent (PROTOCOL).
    pub(crate) fn on_ack(
        &mut self,
        _now: Time,
        _space: Space,
        _acknowledgement: PacketNumber,
        _ack: Option<&Ack>,
        _outcome: &mut Outcome,
    ) -> Result<(), TransportError> {
        todo!()
    }

    /// When [`Self::on_timeout`] is to be called.
    pub(crate) fn timeout(&self) -> Option<Time> {
        todo!()
    }

    pub(crate) fn on_timeout(&mut self, _now: Time, _outcome: &mut Outcome) {
        todo!()
    }

    /// The space's keys are gone: what it had in flight is forgotten.
    pub(crate) fn drop_space(&mut self, _space: Space) {
        todo!()
    }

    /// The early packets were refused: they are lost, which is no sign of congestion.
    pub(crate) fn take_in_flight(&mut self, _space: Space) -> Vec<SentPacket> {
        todo!()
    }

    /// The smallest number that this end still waits for, to be told to the peer.
    pub(crate) fn floor(&self, _space: Space) -> PacketNumber {
        todo!()
    }

    pub(crate) fn bytes_in_flight(&self) -> u64 {
        todo!()
    }

    pub(crate) fn rtt(&self) -> &Rtt {
        todo!()
    }

    /// The path is another one: the RTT begins anew.
    pub(crate) fn reset_rtt(&mut self, _initial_rtt: Duration) {
        todo!()
    }

    /// The probe timeout: RFC 9002 section 6.2.
    pub(crate) fn probe_timeout(&self, _max_ack_delay: Duration) -> Duration {
        todo!()
    }

    pub(crate) fn set_max_ack_delay(&mut self, _delay: Duration) {
        todo!()
    }

    /// The address is not validated and no more may be sent (server): timers wait.
    pub(crate) fn set_blocked(&mut self, _blocked: bool) {
        todo!()
    }

    /// The handshake is confirmed: application packets may be probed.
    pub(crate) fn on_confirmed(&mut self) {
        todo!()
    }
}

/// The round-trip time. RFC 6298 and RFC 9002 section 5.
#[derive(Clone, Debug)]
pub(crate) struct Rtt {
    pub(crate) smoothed: Duration,
    pub(crate) variation: Duration,
    pub(crate) latest: Duration,
    /// Of the whole connection on this path.
    pub(crate) min: Duration,
    /// At least one sample was taken.
    pub(crate) sampled: bool,
}
