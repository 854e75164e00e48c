//! From the model to what the connection obeys: pacing rate, send quantum and window. draft-ietf-ccwg-bbr section 5.6.
//!
//! Owns the three. Inputs: the model, after each acknowledgement; timeouts.
//! Invariants: the window holds at least [`MIN_PACKETS`]; until the path is known to be full neither rate nor window fall but by a timeout.

use std::time::Duration;

use super::{AckEnd, Bbr, State, sampler, sampler::RateSample};

/// The packets of RFC 6928, from which the first rate is reckoned.
const RATED_PACKETS: u64 = 10;
/// What that rate, times the gain of Startup, sends in a round trip: the window does not stop the sender before it. As they are spaced, no queue sees
/// more at once than with ten.
pub(super) const INITIAL_PACKETS: u64 = 28;
pub(super) const MIN_PACKETS: u64 = 4;
/// The rate stays this far below the bandwidth, so that a queue drains.
const MARGIN: f64 = 0.99;
const QUANTUM_TIME: Duration = Duration::from_millis(1);
const QUANTUM_MAX: u64 = 65_536;
/// So many timeouts in a row mean another path.
const TIMEOUTS: u32 = 3;

#[derive(Debug)]
pub(super) struct Control {
    pub(super) window: u64,
    pub(super) pacing_rate: u64,
    pub(super) quantum: u64,
    /// The window before a timeout or ProbeRTT cut it.
    prior_window: u64,
    /// The rate is still the guess made without a sample of the round trip.
    guessed: bool,
    /// The window kept the sender back in this round and the last.
    limited: (bool, bool),
    /// Timeouts since something was acknowledged, and what had been delivered at the first.
    timeouts: u32,
    recovery: Option<u64>,
}

impl Control {
    pub(super) fn new(packet: u64, initial_rtt: Duration) -> Self {
        let window = INITIAL_PACKETS * packet;
        let mut control = Self {
            window,
            pacing_rate: 0,
            quantum: 2 * packet,
            prior_window: 0,
            guessed: true,
            limited: (false, false),
            timeouts: 0,
            recovery: None,
        };
        control.init_pacing_rate(initial_rtt, packet);
        control.set_quantum(packet);
        control
    }

    fn init_pacing_rate(&mut self, rtt: Duration, packet: u64) {
        let nominal = sampler::rate(
            self.window.min(RATED_PACKETS * packet),
            rtt.max(Duration::from_micros(1)),
        );
        self.pacing_rate = (nominal as f64 * State::Startup.pacing_gain()) as u64;
    }

    /// The first sample of the round trip replaces the guess.
    pub(super) fn on_rtt(&mut self, rtt: Duration, packet: u64) {
        if std::mem::take(&mut self.guessed) {
            self.init_pacing_rate(rtt, packet);
            self.set_quantum(packet);
        }
    }

    pub(super) fn on_packet_size(&mut self, packet: u64) {
        self.window = self.window.max(MIN_PACKETS * packet);
        self.set_quantum(packet);
    }

    pub(super) fn note_in_flight(&mut self, in_flight: u64, packet: u64) {
        self.limited.0 |= in_flight + packet > self.window;
    }

    pub(super) fn on_round(&mut self) {
        self.limited = (false, self.limited.0);
    }

    /// The window, not the pacing rate, keeps the sender back.
    pub(super) fn window_limited(&self) -> bool {
        self.limited.0 || self.limited.1
    }

    pub(super) fn save_window(&mut self, state: State) {
        let cut = self.recovery.is_some() || state == State::ProbeRtt;
        self.prior_window = if cut {
            self.prior_window.max(self.window)
        } else {
            self.window
        };
    }

    pub(super) fn restore_window(&mut self) {
        self.window = self.window.max(self.prior_window);
    }

    /// Returns whether it is time to give the path up.
    pub(super) fn on_timeout(&mut self, state: State, packet: u64, delivered: u64) -> bool {
        self.save_window(state);
        self.recovery = Some(delivered);
        self.window = MIN_PACKETS * packet;
        self.timeouts += 1;
        self.timeouts == TIMEOUTS
    }

    pub(super) fn begin_anew(&mut self, packet: u64) {
        self.window = MIN_PACKETS * packet;
        self.prior_window = self.window;
        self.guessed = true;
    }

    fn set_quantum(&mut self, packet: u64) {
        let quantum = sampler::volume(self.pacing_rate, QUANTUM_TIME);
        self.quantum = quantum.min(QUANTUM_MAX).max(2 * packet);
    }
}

impl Bbr {
    pub(super) fn update_control(&mut self, ack: &AckEnd, sample: &RateSample) {
        self.check_recovered(sample);
        self.set_pacing_rate(self.state.pacing_gain());
        if let Some(rate) = self.rival_rate(ack) {
            self.control.pacing_rate = rate;
            self.control.set_quantum(self.packet);
        }
        self.set_window(sample);
    }

    /// A packet sent after the timeout arrived: the path is alive, and the window was right.
    fn check_recovered(&mut self, sample: &RateSample) {
        self.control.timeouts = 0;
        if self
            .control
            .recovery
            .is_some_and(|at| sample.prior_delivered > at || self.rounds.start)
        {
            self.control.recovery = None;
            if self.state != State::ProbeRtt {
                self.control.restore_window();
            }
        }
    }

    pub(super) fn set_pacing_rate(&mut self, gain: f64) {
        let rate = (self.bandwidth as f64 * gain * MARGIN) as u64;
        if self.full_pipe.reached || rate > self.control.pacing_rate {
            self.control.pacing_rate = rate.max(self.packet);
        }
        self.control.set_quantum(self.packet);
    }

    fn max_inflight(&self) -> u64 {
        let cap = self.bdp(self.state.window_gain()) + self.extra_acked.max();
        let cap = cap.max(self.control.quantum).max(self.min_window());
        if self.state == State::Up {
            cap + 2 * self.packet
        } else {
            cap
        }
    }

    fn set_window(&mut self, sample: &RateSample) {
        if let (Some(window), true) = (self.rival.window(), self.state != State::ProbeRtt) {
            self.control.window = window.max(self.min_window());
            return;
        }
        let max = self.max_inflight();
        let grown = self.control.window + sample.newly_acked;
        if self.full_pipe.reached {
            self.control.window = grown.min(max);
        } else if self.control.window < max || self.sampler.delivered < INITIAL_PACKETS * self.packet {
            self.control.window = grown;
        }
        let cap = match self.state {
            State::Startup | State::Drain => u64::MAX,
            State::Down | State::Refill | State::Up => self.bounds.inflight_longterm,
            State::Cruise => self.inflight_with_headroom(),
            State::ProbeRtt => self.inflight_with_headroom().min(self.probe_rtt.window),
        };
        let cap = cap.min(self.bounds.inflight_shortterm);
        self.control.window = self.control.window.min(cap).max(self.min_window());
    }
}
