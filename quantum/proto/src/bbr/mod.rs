//! BBR version 3. draft-ietf-ccwg-bbr.
//!
//! Owns the model of the path (bandwidth, round trip, what fits) and from it the pacing rate and the congestion window.
//! Inputs: packets sent, acknowledged, lost; the end of an acknowledgement; timeouts.
//! Effects: none but its answers; the connection asks for [`Bbr::window`], [`Bbr::pacing_rate`] and [`Bbr::send_quantum`].
//! Invariants: the window is never below four packets; the pacing rate is obeyed by [`Pacer`].
//! On failure: repeated timeouts forget the model and begin anew.
//!
//! Where this departs from the draft:
//!
//! * Loss that the path has without a queue is learned ([`noise`]). Only what exceeds it, or comes with a queue, is congestion; and
//!   the bandwidth is what the bottleneck carries, that loss included, so that random loss costs no rate.
//! * Startup ends with the first queue ([`startup`]), and begins with 28 packets, spaced as the draft's ten are ([`control`]).
//! * A flow whose probe found bandwidth probes again soon; one whose probe found none passes while a queue stands ([`probe_bw`]), and
//!   gives way to it until that proves vain ([`bounds`]).
//! * A probe for bandwidth ends as soon as it makes a queue rather than bandwidth ([`probe_bw`]), before the queue overflows.
//! * A queue that stays when this flow drains its own belongs to others, and this flow holds its share of it ([`rival`]).
//! * ProbeRTT every five seconds, as in the draft until 2026, and only when no recent packet saw the path empty.

mod aggregation;
mod bounds;
mod control;
mod cubic;
mod drain;
mod filters;
mod noise;
mod pacer;
mod probe_bw;
mod probe_rtt;
mod rival;
mod rtt;
mod sampler;
mod startup;

#[cfg(test)]
mod sim;
#[cfg(test)]
mod tests;

use std::time::Duration;

use self::{
    aggregation::ExtraAcked,
    bounds::Bounds,
    control::Control,
    filters::MaxOfCycles,
    noise::Noise,
    probe_bw::Cycle,
    probe_rtt::ProbeRtt,
    rival::Rival,
    rtt::RttModel,
    sampler::{RateSample, Sampler},
    startup::{Calm, FullPipe},
};
pub(crate) use self::{pacer::Pacer, sampler::Snapshot};
use crate::time::Time;

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

/// draft section 5.1.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Startup,
    Drain,
    Down,
    Cruise,
    Refill,
    Up,
    ProbeRtt,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Drain => "Drain",
            Self::Down => "ProbeBW_DOWN",
            Self::Cruise => "ProbeBW_CRUISE",
            Self::Refill => "ProbeBW_REFILL",
            Self::Up => "ProbeBW_UP",
            Self::ProbeRtt => "ProbeRTT",
        }
    }

    fn pacing_gain(self) -> f64 {
        match self {
            Self::Startup => 2.77,
            Self::Drain => 0.5,
            Self::Down => 0.9,
            Self::Cruise | Self::Refill | Self::ProbeRtt => 1.0,
            Self::Up => 1.25,
        }
    }

    fn window_gain(self) -> f64 {
        match self {
            Self::Up => 2.25,
            Self::ProbeRtt => 0.5,
            _ => 2.0,
        }
    }

    fn probes_bandwidth(self) -> bool {
        matches!(self, Self::Startup | Self::Refill | Self::Up)
    }

    fn in_probe_bw(self) -> bool {
        matches!(self, Self::Down | Self::Cruise | Self::Refill | Self::Up)
    }
}

/// Round trips counted by packets. draft section 5.5.1.
#[derive(Debug, Default)]
struct Rounds {
    count: u64,
    /// The acknowledgement at hand begins one.
    start: bool,
    /// A packet sent when this much was delivered ends the present one.
    next_delivered: u64,
}

pub(crate) struct Bbr {
    state: State,
    /// Bytes of a full packet.
    packet: u64,
    sampler: Sampler,
    rounds: Rounds,
    rtt: RttModel,
    max_bandwidth: MaxOfCycles,
    /// Bytes per second: the maximum, bounded by what congestion taught of late.
    bandwidth: u64,
    noise: Noise,
    calm: Calm,
    full_pipe: FullPipe,
    bounds: Bounds,
    cycle: Cycle,
    probe_rtt: ProbeRtt,
    rival: Rival,
    extra_acked: ExtraAcked,
    control: Control,
    /// The first packets after idleness are out: no ProbeRTT, the path had its rest.
    idle_restart: bool,
    random: Random,
}

impl Bbr {
    /// `seed` randomises when bandwidth is probed.
    pub(crate) fn new(now: Time, packet: u16, initial_rtt: Duration, seed: u64) -> Self {
        let packet = u64::from(packet.max(1));
        Self {
            state: State::Startup,
            packet,
            sampler: Sampler::default(),
            rounds: Rounds::default(),
            rtt: RttModel::new(now),
            max_bandwidth: MaxOfCycles::default(),
            bandwidth: 0,
            noise: Noise::new(),
            calm: Calm::default(),
            full_pipe: FullPipe::default(),
            bounds: Bounds::new(),
            cycle: Cycle::new(now),
            probe_rtt: ProbeRtt::default(),
            rival: Rival::default(),
            extra_acked: ExtraAcked::new(now),
            control: Control::new(packet, initial_rtt),
            idle_restart: false,
            random: Random(seed),
        }
    }

    /// A packet that asks for an acknowledgement goes out. `in_flight` is before it.
    pub(crate) fn on_sent(&mut self, now: Time, bytes: u16, in_flight: u64) -> Snapshot {
        if in_flight == 0 && self.sampler.app_limited() {
            self.restart_from_idle(now);
        }
        let bytes = u64::from(bytes);
        self.control.note_in_flight(in_flight + bytes, self.packet);
        self.sampler.on_sent(now, bytes, in_flight)
    }

    /// draft section 5.4.1.
    fn restart_from_idle(&mut self, now: Time) {
        self.idle_restart = true;
        self.extra_acked.restart(now);
        if self.state.in_probe_bw() {
            self.set_pacing_rate(1.0);
        } else if self.state == State::ProbeRtt {
            self.check_probe_rtt_done(now);
        }
    }

    /// There is nothing to send though window and pacer would allow it.
    pub(crate) fn on_app_limited(&mut self, in_flight: u64) {
        if in_flight < self.control.window {
            self.sampler.on_app_limited(in_flight);
        }
    }

    pub(crate) fn on_acked(&mut self, now: Time, bytes: u16, sent_at: Time, snapshot: &Snapshot) {
        self.sampler.on_acked(now, u64::from(bytes), sent_at, snapshot);
        self.bounds.tally.acked(u64::from(bytes));
    }

    pub(crate) fn on_lost(&mut self, now: Time, bytes: u16, snapshot: &Snapshot) {
        let bytes = u64::from(bytes);
        self.sampler.on_lost(bytes);
        self.bounds.tally.lost(bytes);
        self.note_lost();
        self.check_probe_too_high(now, bytes, snapshot);
    }

    /// `count` packets that were reported lost have arrived after all.
    pub(crate) fn on_spurious(&mut self, count: u32) {
        self.sampler.on_spurious(u64::from(count) * self.packet);
        self.calm.on_spurious(count);
        if self.cycle.steady() {
            self.noise.on_spurious(count);
        }
        self.undo_if_spurious(count);
    }

    /// All of an acknowledgement was reported.
    pub(crate) fn on_ack_end(&mut self, now: Time, ack: AckEnd) {
        if ack.repaired > 0 {
            let bytes = ack.repaired.saturating_mul(self.packet);
            self.sampler.on_lost(bytes);
            self.bounds.tally.lost(bytes);
            self.note_congestion();
        }
        if ack.ecn_ce > 0 {
            self.note_congestion();
            self.bounds.tally.marked(ack.ecn_ce);
        }
        if let Some(rtt) = ack.rtt {
            self.rtt.sample(rtt);
            self.calm.on_rtt(rtt);
            self.control.on_rtt(rtt, self.packet);
        }
        self.classify_loss(ack.rtt);
        let Some(sample) = self.sampler.take(self.rtt.min(), self.noise.fraction()) else {
            return;
        };
        self.update_model(now, &ack, &sample);
        self.update_control(&ack, &sample);
    }

    /// The retransmission timeout expired.
    pub(crate) fn on_timeout(&mut self, now: Time) {
        self.note_congestion();
        if self.control.on_timeout(self.state, self.packet, self.sampler.delivered) {
            self.begin_anew(now);
        }
    }

    /// Nothing got through for so long that the path must be another one.
    fn begin_anew(&mut self, now: Time) {
        self.max_bandwidth = MaxOfCycles::default();
        self.bandwidth = 0;
        self.rtt = RttModel::new(now);
        self.calm = Calm::default();
        self.full_pipe = FullPipe::default();
        self.bounds = Bounds::new();
        self.rival = Rival::default();
        self.control.begin_anew(self.packet);
        self.enter_startup();
    }

    /// Bytes that may be in flight.
    pub(crate) fn window(&self) -> u64 {
        self.control.window
    }

    /// Bytes per second.
    pub(crate) fn pacing_rate(&self) -> u64 {
        self.control.pacing_rate
    }

    /// Bytes that may go out back to back. draft section 5.6.3.
    pub(crate) fn send_quantum(&self) -> u64 {
        self.control.quantum
    }

    /// Name of the state, for statistics and qlog.
    pub(crate) fn state(&self) -> &'static str {
        self.state.name()
    }

    pub(crate) fn set_packet_size(&mut self, packet: u16) {
        self.packet = u64::from(packet.max(1));
        self.control.on_packet_size(self.packet);
    }

    /// draft section 5.2.3, in its order.
    fn update_model(&mut self, now: Time, ack: &AckEnd, sample: &RateSample) {
        self.update_latest(sample);
        self.update_round(sample);
        self.update_max_bandwidth(sample);
        self.adapt_short_term();
        self.update_extra_acked(now, sample);
        self.update_full_pipe(sample);
        self.check_startup_done();
        self.check_drain_done(now, ack);
        self.update_probe_bw(now, ack, sample);
        self.update_rival(now, ack, sample);
        self.update_rtt(now, ack, sample);
        self.check_probe_rtt(now, ack, sample);
        self.bounds.advance_latest(sample);
        self.bandwidth = self.max_bandwidth.max().min(self.bounds.bandwidth_shortterm);
    }

    fn update_round(&mut self, sample: &RateSample) {
        self.rounds.start = sample.prior_delivered >= self.rounds.next_delivered;
        if self.rounds.start {
            self.start_round();
            self.rounds.count += 1;
            self.cycle.rounds += 1;
            self.rtt.on_round();
            self.calm.on_round();
            self.control.on_round();
        }
    }

    fn start_round(&mut self) {
        self.rounds.next_delivered = self.sampler.delivered;
    }

    fn update_max_bandwidth(&mut self, sample: &RateSample) {
        if sample.rate > 0 && (sample.rate >= self.max_bandwidth.max() || !sample.app_limited) {
            self.max_bandwidth.update(sample.rate);
        }
    }

    /// Bytes in flight that fill the path, times `gain`.
    fn bdp(&self, gain: f64) -> u64 {
        self.bdp_of(self.bandwidth, gain)
    }

    fn bdp_of(&self, bandwidth: u64, gain: f64) -> u64 {
        match self.rtt.min() {
            Some(rtt) => (sampler::volume(bandwidth, rtt) as f64 * gain) as u64,
            None => control::INITIAL_PACKETS * self.packet,
        }
    }

    /// What is in flight when the path is full and, but for what sender and receiver need, the queue is empty.
    fn inflight(&self, bandwidth: u64, gain: f64) -> u64 {
        self.bdp_of(bandwidth, gain)
            .max(self.control.quantum)
            .max(self.min_window())
    }

    /// draft section 5.6.4.3: at least two packets on their way and two acknowledgements.
    fn min_window(&self) -> u64 {
        control::MIN_PACKETS * self.packet
    }
}

/// SplitMix64: enough to spread probes in time.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
