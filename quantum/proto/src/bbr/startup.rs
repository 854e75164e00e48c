//! Startup: the rate doubles each round until the path is full. draft-ietf-ccwg-bbr section 5.3.1.

use super::{Bbr, State, sampler::RateSample};

/// Growth below this is none.
const GROWTH: f64 = 1.25;
/// Rounds without growth that mean a full path.
const ROUNDS: u32 = 3;

/// Whether more in flight still brings more bandwidth.
#[derive(Debug, Default)]
pub(super) struct FullPipe {
    bandwidth: u64,
    count: u32,
    /// The present probe has filled the path.
    pub(super) now: bool,
    /// The path was ever full.
    pub(super) reached: bool,
}

impl FullPipe {
    /// Looks for growth beyond `bandwidth`.
    pub(super) fn restart(&mut self, bandwidth: u64) {
        *self = Self {
            bandwidth,
            reached: self.reached,
            ..Self::default()
        };
    }
}

impl Bbr {
    pub(super) fn enter_startup(&mut self) {
        self.state = State::Startup;
    }

    pub(super) fn update_full_pipe(&mut self, sample: &RateSample) {
        if self.full_pipe.now || !self.rounds.start || sample.app_limited {
            return;
        }
        if sample.rate as f64 >= self.full_pipe.bandwidth as f64 * GROWTH {
            self.full_pipe.restart(sample.rate);
            return;
        }
        self.full_pipe.count += 1;
        self.full_pipe.now = self.full_pipe.count >= ROUNDS;
        self.full_pipe.reached |= self.full_pipe.now;
    }

    pub(super) fn check_startup_done(&mut self) {
        if self.state == State::Startup && self.full_pipe.reached {
            self.enter_drain();
        }
    }
}
