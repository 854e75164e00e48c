//! Refill: one round that fills the path, so that what the probe after it loses says how much fits.

use super::{AckPhase, Bbr, State};
use crate::bbr::sampler::RateSample;

impl Bbr {
    pub(in crate::bbr) fn start_refill(&mut self) {
        self.bounds.reset_short_term();
        self.cycle.up.stop();
        self.cycle.precautionary = false;
        self.cycle.before = self.max_bandwidth.max();
        self.cycle.ack_phase = AckPhase::Refilling;
        self.start_round();
        self.state = State::Refill;
    }

    pub(super) fn update_refill(&mut self, sample: &RateSample) {
        if self.rounds.start {
            self.cycle.probing = true;
            self.start_up(sample);
        }
    }
}
