//! Down: slower than the path delivers, until the queue is gone and there is room for others.

use super::{AckPhase, Bbr, State};
use crate::{
    bbr::{AckEnd, bounds::PATIENCE},
    time::Time,
};

impl Bbr {
    pub(in crate::bbr) fn start_down(&mut self, now: Time) {
        self.bounds.reset_signals();
        self.bounds.in_vain = 0;
        self.cycle.up.stop();
        self.cycle.lap += 1;
        self.pick_wait();
        self.cycle.started = now;
        self.cycle.passed = false;
        self.cycle.ack_phase = AckPhase::ProbeStopping;
        self.start_round();
        self.state = State::Down;
    }

    pub(super) fn update_down(&mut self, now: Time, ack: &AckEnd) {
        if self.rival.present() || self.bounds.in_vain >= PATIENCE {
            self.start_cruise();
        } else if self.time_to_probe(now) {
            self.start_refill();
        } else if ack.in_flight <= self.inflight_with_headroom()
            && ack.in_flight <= self.inflight(self.max_bandwidth.max(), 1.0)
        {
            self.start_cruise();
        }
    }
}
