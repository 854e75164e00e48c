//! Startup: the rate doubles each round until the path is full. draft-ietf-ccwg-bbr section 5.3.1.
//!
//! The draft waits for three rounds without growth, and for so long holds a BDP in the queue, in which what is urgent has to wait. Here a
//! queue ends Startup as soon as it can be told from jitter, as in HyStart (RFC 9406 section 4.2); Drain still measures the full path.

use std::time::Duration;

use super::{Bbr, State, sampler::RateSample};

/// Growth below this is none.
const GROWTH: f64 = 1.25;
/// Rounds without growth that mean a full path.
const ROUNDS: u32 = 3;

/// A queue of this fraction of the round trip, and of this length, fills the path.
const QUEUE: u32 = 8;
const QUEUE_MIN: Duration = Duration::from_millis(4);
/// Rounds too small to make a queue, in which the round trip shows how it varies of itself.
const CALM_ROUNDS: u32 = 3;

/// What the path does of itself, seen while too little is in flight to fill it: how the round trip varies, and what is lost.
#[derive(Debug, Default)]
pub(super) struct Calm {
    rounds: u32,
    range: Option<(Duration, Duration)>,
    /// Packets lost, and lost or acknowledged, in the last round and the present one.
    last: (u32, u32),
    present: (u32, u32),
    /// Of those of the last round, how many arrived after all.
    spurious: u32,
}

impl Calm {
    pub(super) fn on_round(&mut self) {
        self.rounds = self.rounds.saturating_add(1);
    }

    pub(super) fn on_settled(&mut self, lost: u32, settled: u32) {
        self.present.0 += lost;
        self.present.1 += settled;
    }

    pub(super) fn on_spurious(&mut self, count: u32) {
        self.spurious = self.spurious.saturating_add(count);
    }

    /// A round brought more bandwidth, so the one before did not fill the path: returns what it lost and settled.
    fn on_growth(&mut self) -> (u32, u32) {
        let (lost, settled) = std::mem::replace(&mut self.last, std::mem::take(&mut self.present));
        (lost.saturating_sub(std::mem::take(&mut self.spurious)), settled)
    }

    pub(super) fn on_rtt(&mut self, rtt: Duration) {
        if self.rounds <= CALM_ROUNDS {
            let (low, high) = self.range.unwrap_or((rtt, rtt));
            self.range = Some((low.min(rtt), high.max(rtt)));
        }
    }

    fn jitter(&self) -> Duration {
        self.range.map_or(Duration::ZERO, |(low, high)| high - low)
    }
}

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
        if self.full_pipe.now || sample.app_limited {
            return;
        }
        if self.state == State::Startup && self.makes_queue() {
            self.full_pipe.now = true;
            self.full_pipe.reached = true;
        }
        if !self.rounds.start {
            return;
        }
        if sample.rate as f64 >= self.full_pipe.bandwidth as f64 * GROWTH {
            self.full_pipe.restart(sample.rate);
            if self.state == State::Startup {
                let (lost, settled) = self.calm.on_growth();
                self.noise.learn_round(lost, settled);
            }
            return;
        }
        self.full_pipe.count += 1;
        self.full_pipe.now = self.full_pipe.count >= ROUNDS;
        self.full_pipe.reached |= self.full_pipe.now;
    }

    fn makes_queue(&self) -> bool {
        let rtt = self.rtt.min().unwrap_or_default();
        self.rtt
            .surely_above((rtt / QUEUE).max(QUEUE_MIN).max(self.calm.jitter()))
    }

    pub(super) fn check_startup_done(&mut self) {
        if self.state == State::Startup && self.full_pipe.reached {
            self.enter_drain();
        }
    }
}
