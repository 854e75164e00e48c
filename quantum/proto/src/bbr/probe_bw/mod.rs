//! ProbeBW: sends slower, as fast as, and now and then faster than the path delivers. draft-ietf-ccwg-bbr section 5.3.3.
//!
//! Owns the cycle of down, cruise, refill and up; and what each lap of it teaches of the bandwidth and of how much fits.
//! Invariants: the filter of the bandwidth ages by one cycle per probe or one passed over, and not while the application limits the sender.
//!
//! Two flows by the draft need half a minute and more to come to equal shares: each probe brings the smaller one little, and each of the larger one takes it
//! away. Here a flow that gained probes again soon, and one that did not passes while a queue stands.

mod cruise;
mod down;
mod refill;
mod up;

use std::time::Duration;

use super::{AckEnd, Bbr, State, bounds::PATIENCE, sampler::RateSample};
use crate::time::Time;

/// Reno needs as many rounds between losses as it has packets in flight, and gets up to this many.
const RENO_ROUNDS: u64 = 63;
/// A probe that brought so much more is followed by another after so many rounds: the flow has less than its share, or the link has become
/// faster. Sending a quarter more brings a flow with four fifths of a full link no more than that.
const GAIN: f64 = 1.05;
const GAIN_ROUNDS: u64 = 3;
/// The same while a queue stands, which may go.
const GAIN_ROUNDS_QUEUED: u64 = 12;
const WAIT_MIN: Duration = Duration::from_secs(2);
const WAIT_SPREAD_US: u64 = 1_000_000;

/// A flow that passed over a probe, because a queue stood, waits for so many times less once the queue has gone. While it stands the flow waits as long as
/// after a probe: beside those who never give way it would forget its share.
const PASSED: u32 = 4;

/// Which packets the acknowledgements at hand are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AckPhase {
    Init,
    Refilling,
    ProbeStarting,
    ProbeFeedback,
    ProbeStopping,
}

#[derive(Debug)]
pub(super) struct Cycle {
    /// Rounds since the last probe.
    pub(super) rounds: u64,
    /// Since the cycle began, and how long until the next probe.
    started: Time,
    wait: Duration,
    /// It began with a probe that was passed over.
    passed: bool,
    /// The bandwidth before the last probe; the largest number before the first.
    before: u64,
    ack_phase: AckPhase,
    /// Losses of packets that probe are still waited for, and none was too many.
    pub(super) probing: bool,
    /// The last probe lost too much.
    pub(super) too_high: bool,
    /// The last probe ended as soon as it reached what had lost too much before.
    precautionary: bool,
    pub(super) drain_round: u64,
    /// Laps begun.
    lap: u64,
    up: up::Rise,
}

impl Cycle {
    pub(super) fn new(now: Time) -> Self {
        Self {
            rounds: 0,
            started: now,
            wait: WAIT_MIN,
            passed: false,
            before: u64::MAX,
            ack_phase: AckPhase::Init,
            probing: false,
            too_high: false,
            precautionary: false,
            drain_round: 0,
            lap: 0,
            up: up::Rise::default(),
        }
    }

    /// The acknowledgements at hand are about packets sent no faster than the path delivers.
    pub(super) fn steady(&self) -> bool {
        self.lap > 0 && matches!(self.ack_phase, AckPhase::Init | AckPhase::Refilling)
    }

    /// The samples that come from now on are not of a probe.
    pub(super) fn stop_probing(&mut self) {
        self.ack_phase = AckPhase::ProbeStopping;
    }
}

impl Bbr {
    pub(super) fn update_probe_bw(&mut self, now: Time, ack: &AckEnd, sample: &RateSample) {
        if !self.full_pipe.reached || self.adapt_long_term(sample) {
            return;
        }
        match self.state {
            State::Down => self.update_down(now, ack),
            State::Cruise => self.update_cruise(now),
            State::Refill => self.update_refill(sample),
            State::Up => self.update_up(now, ack, sample),
            State::Startup | State::Drain | State::ProbeRtt => {}
        }
    }

    fn pick_wait(&mut self) {
        self.cycle.rounds = self.random.next() % 2;
        self.cycle.wait = WAIT_MIN + Duration::from_micros(self.random.next() % WAIT_SPREAD_US);
    }

    fn time_to_probe(&mut self, now: Time) -> bool {
        let reno = self.bdp(1.0).min(self.control.window) / self.packet;
        let wait = match self.cycle.passed && !self.rtt.queued(8) {
            true => self.cycle.wait / PASSED,
            false => self.cycle.wait,
        };
        let over = now.since(self.cycle.started) > wait || self.cycle.rounds >= reno.min(RENO_ROUNDS);
        if over && self.leaves_it_to_others() {
            self.pass(now);
            return false;
        }
        over || self.probes_again()
    }

    /// The last probe found more bandwidth than there had been.
    fn gained(&self) -> bool {
        self.max_bandwidth.max() as f64 >= self.cycle.before as f64 * GAIN
    }

    fn probes_again(&self) -> bool {
        let rounds = if self.rtt.queued(8) {
            GAIN_ROUNDS_QUEUED
        } else {
            GAIN_ROUNDS
        };
        self.cycle.rounds >= rounds && self.gained()
    }

    /// A queue stands that this flow does not need to make longer: its last probe found nothing. Where others never give way it probes all the same.
    fn leaves_it_to_others(&self) -> bool {
        self.cycle.steady() && self.rtt.queued(8) && !self.gained() && self.bounds.in_vain < PATIENCE
    }

    /// A cycle without a probe. What was measured before the last one is forgotten: in the queue stands what was claimed too much.
    fn pass(&mut self, now: Time) {
        if !self.sampler.app_limited() {
            self.max_bandwidth.advance();
        }
        self.cycle.before = self.max_bandwidth.max();
        self.cycle.started = now;
        self.pick_wait();
        self.cycle.passed = true;
    }

    /// What the acknowledgements of a probe teach. Returns whether it decided on the next state.
    fn adapt_long_term(&mut self, sample: &RateSample) -> bool {
        if self.cycle.ack_phase == AckPhase::ProbeStarting && self.rounds.start {
            self.cycle.ack_phase = AckPhase::ProbeFeedback;
        }
        if self.cycle.ack_phase == AckPhase::ProbeStopping && self.rounds.start {
            self.cycle.probing = false;
            self.cycle.ack_phase = AckPhase::Init;
            if self.state.in_probe_bw() {
                if !sample.app_limited {
                    self.max_bandwidth.advance();
                }
                if self.cycle.precautionary && !self.cycle.too_high {
                    self.start_refill();
                    return true;
                }
            }
        }
        if self.bounds.inflight_longterm != u64::MAX && !self.sample_too_high(sample) {
            self.bounds.inflight_longterm = self.bounds.inflight_longterm.max(sample.in_flight);
            if self.state == State::Up {
                self.raise_inflight(sample);
            }
        }
        false
    }
}
