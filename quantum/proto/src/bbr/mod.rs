//! BBR version 3. draft-ietf-ccwg-bbr.
//!
//! Owns the model of the path (bandwidth, round trip, what fits) and from it the pacing rate and the congestion window.
//! Inputs: packets sent, acknowledged, lost; the end of an acknowledgement; timeouts.
//! Invariants: the window is never below four packets; the pacing rate is obeyed by [`Pacer`].

use std::time::Duration;

use crate::time::Time;

/// The state of delivery when a packet was sent. draft-ietf-ccwg-bbr section 4.1 (delivery rate estimation).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Snapshot {}

/// What an acknowledgement said as a whole.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AckEnd {
    pub(crate) rtt: Option<Duration>,
    pub(crate) smoothed_rtt: Duration,
    /// After the acknowledgement.
    pub(crate) in_flight: u64,
    /// Losses that parity repaired: signs of congestion all the same.
    pub(crate) repaired: u64,
    pub(crate) ecn_ce: u64,
}

pub(crate) struct Bbr {}

impl Bbr {
    /// `seed` randomises when bandwidth is probed.
    pub(crate) fn new(_now: Time, _packet: u16, _initial_rtt: Duration, _seed: u64) -> Self {
        todo!()
    }

    /// A packet that asks for an acknowledgement goes out. `in_flight` is before it. `limited`: after it there is nothing more to send though the window allows it.
    pub(crate) fn on_sent(&mut self, _now: Time, _bytes: u16, _in_flight: u64) -> Snapshot {
        todo!()
    }

    /// There is nothing to send though window and pacer would allow it.
    pub(crate) fn on_app_limited(&mut self, _in_flight: u64) {
        todo!()
    }

    pub(crate) fn on_acked(&mut self, _now: Time, _bytes: u16, _sent_at: Time, _snapshot: &Snapshot) {
        todo!()
    }

    pub(crate) fn on_lost(&mut self, _now: Time, _bytes: u16, _snapshot: &Snapshot) {
        todo!()
    }

    /// `count` packets that were reported lost have arrived after all.
    pub(crate) fn on_spurious(&mut self, _count: u32) {
        todo!()
    }

    /// All of an acknowledgement was reported.
    pub(crate) fn on_ack_end(&mut self, _now: Time, _ack: AckEnd) {
        todo!()
    }

    /// The retransmission timeout expired.
    pub(crate) fn on_timeout(&mut self, _now: Time) {
        todo!()
    }

    /// Bytes that may be in flight.
    pub(crate) fn window(&self) -> u64 {
        todo!()
    }

    /// Bytes per second.
    pub(crate) fn pacing_rate(&self) -> u64 {
        todo!()
    }

    /// Bytes that may go out back to back. draft section 5.6.3.
    pub(crate) fn send_quantum(&self) -> u64 {
        todo!()
    }

    /// Name of the state, for statistics and qlog.
    pub(crate) fn state(&self) -> &'static str {
        todo!()
    }

    pub(crate) fn set_packet_size(&mut self, _packet: u16) {
        todo!()
    }
}

/// Spaces packets in time.
pub(crate) struct Pacer {}

impl Pacer {
    pub(crate) fn new(_now: Time) -> Self {
        todo!()
    }

    /// When a packet may go out; `None`: now. `burst` is the most that may go back to back.
    pub(crate) fn release(&mut self, _now: Time, _rate: u64, _burst: u64) -> Option<Time> {
        todo!()
    }

    /// A packet went out, in its turn or (interactive) before it: the debt is paid by the next ones.
    pub(crate) fn on_sent(&mut self, _now: Time, _bytes: u64) {
        todo!()
    }
}
