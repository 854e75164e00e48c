//! Up: faster than the path delivers, until that makes a queue, a loss, or no more bandwidth.
//!
//! The draft waits for three rounds without growth, which in a path that is full puts most of a BDP into the queue. Here a queue that grew
//! by a quarter of the round trip ends the probe: the bandwidth is known then.

use std::time::Duration;

use super::{AckPhase, Bbr, State};
use crate::{
    bbr::{AckEnd, sampler::RateSample},
    time::Time,
};

/// A queue that grew by this fraction of the round trip ends the probe.
const QUEUE: u32 = 4;
const QUEUE_MIN: Duration = Duration::from_millis(1);

/// How `inflight_longterm` grows in a probe: by 1, 2, 4 ... packets per round.
#[derive(Debug, Default)]
pub(super) struct Rise {
    rounds: u32,
    acked: u64,
    /// Bytes acknowledged per packet more; 0: it does not grow.
    per_packet: u64,
    /// The round in which the probe began, and the round trip then.
    since: u64,
    rtt: Duration,
}

impl Rise {
    pub(super) fn stop(&mut self) {
        *self = Self::default();
    }
}

impl Bbr {
    pub(super) fn start_up(&mut self, sample: &RateSample) {
        self.cycle.ack_phase = AckPhase::ProbeStarting;
        self.start_round();
        self.full_pipe.restart(sample.rate);
        self.state = State::Up;
        self.cycle.up.since = self.rounds.count;
        self.cycle.up.rtt = self.rtt.recent();
        self.raise_slope();
    }

    pub(super) fn update_up(&mut self, now: Time, ack: &AckEnd, sample: &RateSample) {
        if self.time_to_go_down(ack, sample) {
            self.cycle.too_high = false;
            self.start_down(now);
        }
    }

    fn time_to_go_down(&mut self, ack: &AckEnd, sample: &RateSample) -> bool {
        let longterm = self.bounds.inflight_longterm;
        if self.cycle.too_high && ack.in_flight >= longterm {
            self.cycle.precautionary = true;
            return true;
        }
        if self.queue_grew() {
            return true;
        }
        if self.control.window_limited() && self.control.window >= longterm {
            self.full_pipe.restart(sample.rate);
            return false;
        }
        self.full_pipe.now
    }

    fn queue_grew(&self) -> bool {
        let up = &self.cycle.up;
        let base = self.rtt.min().unwrap_or_default();
        self.rounds.count > up.since && self.rtt.recent() > up.rtt + (base / QUEUE).max(QUEUE_MIN)
    }

    fn raise_slope(&mut self) {
        let up = &mut self.cycle.up;
        up.per_packet = (self.control.window >> up.rounds).max(self.packet);
        up.rounds = (up.rounds + 1).min(30);
    }

    pub(super) fn raise_inflight(&mut self, sample: &RateSample) {
        if !self.control.window_limited() || self.control.window < self.bounds.inflight_longterm {
            return;
        }
        let up = &mut self.cycle.up;
        up.acked += sample.newly_acked;
        // Zero before the slope is set: no growth then.
        let packets = up.acked.checked_div(up.per_packet).unwrap_or(0);
        up.acked -= packets * up.per_packet;
        self.bounds.inflight_longterm += packets * self.packet;
        if self.rounds.start {
            self.raise_slope();
        }
    }
}
