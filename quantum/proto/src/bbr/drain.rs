//! Drain: gets rid of the queue that Startup made. draft-ietf-ccwg-bbr section 5.3.2.

use super::{AckEnd, Bbr, State};
use crate::time::Time;

/// After so many rounds the bandwidth was overestimated, and the next cycle corrects it.
const ROUNDS: u64 = 3;

impl Bbr {
    pub(super) fn enter_drain(&mut self) {
        self.state = State::Drain;
        self.cycle.drain_round = self.rounds.count;
    }

    pub(super) fn check_drain_done(&mut self, now: Time, ack: &AckEnd) {
        if self.state == State::Drain
            && (ack.in_flight <= self.inflight(self.bandwidth, 1.0)
                || self.rounds.count > self.cycle.drain_round + ROUNDS)
        {
            self.start_down(now);
        }
    }
}
