//! ProbeRTT: a short pause to see the path without queue. draft-ietf-ccwg-bbr section 5.3.4.
//!
//! Entered when no round trip near the minimum was seen for five seconds; holds half a BDP in flight for 200 ms and a round.
//! Not entered while the application limits the sender: there is no queue of ours to drain, and messages would have to wait.

use std::time::Duration;

use super::{AckEnd, Bbr, State, sampler::RateSample};
use crate::time::Time;

const DURATION: Duration = Duration::from_millis(200);

#[derive(Debug, Default)]
pub(super) struct ProbeRtt {
    /// From the round trip as it was before: a queue that stands now must not enlarge it.
    pub(super) window: u64,
    done_at: Option<Time>,
    round_done: bool,
}

impl Bbr {
    pub(super) fn update_rtt(&mut self, now: Time, ack: &AckEnd, sample: &RateSample) {
        if self.rtt.check_expiry(now) && self.state != State::ProbeRtt {
            if sample.app_limited && self.sampler.app_limited() {
                self.rtt.postpone(now);
            } else {
                self.size_probe_rtt();
            }
        }
        if let Some(rtt) = ack.rtt {
            self.rtt.update(now, rtt);
        }
    }

    pub(super) fn check_probe_rtt(&mut self, now: Time, ack: &AckEnd, sample: &RateSample) {
        let due = self.rtt.expired && !self.idle_restart;
        if self.state != State::ProbeRtt {
            if due {
                self.enter_probe_rtt();
            } else if self.suspect_rival(now) {
                self.size_probe_rtt();
                self.enter_probe_rtt();
            }
        }
        if self.state == State::ProbeRtt {
            self.handle_probe_rtt(now, ack);
        }
        if sample.newly_acked > 0 {
            self.idle_restart = false;
        }
    }

    fn size_probe_rtt(&mut self) {
        self.probe_rtt.window = self.bdp(State::ProbeRtt.window_gain()).max(self.min_window());
    }

    fn enter_probe_rtt(&mut self) {
        self.begin_trial();
        self.control.save_window(self.state);
        self.state = State::ProbeRtt;
        self.probe_rtt.done_at = None;
        self.cycle.stop_probing();
        self.start_round();
    }

    fn handle_probe_rtt(&mut self, now: Time, ack: &AckEnd) {
        // The low rate says nothing of the path.
        self.sampler.on_app_limited(ack.in_flight);
        if self.probe_rtt.done_at.is_none() {
            if ack.in_flight <= self.probe_rtt.window {
                self.probe_rtt.done_at = Some(now + DURATION);
                self.probe_rtt.round_done = false;
                self.start_round();
            }
            return;
        }
        self.probe_rtt.round_done |= self.rounds.start;
        if self.probe_rtt.round_done {
            self.check_probe_rtt_done(now);
        }
    }

    pub(super) fn check_probe_rtt_done(&mut self, now: Time) {
        if self.probe_rtt.done_at.is_none_or(|at| now <= at) {
            return;
        }
        self.probe_rtt.done_at = None;
        self.judge_rival(now);
        self.rtt.postpone(now);
        self.control.restore_window();
        self.bounds.reset_short_term();
        if self.full_pipe.reached {
            self.start_down(now);
            self.start_cruise();
        } else {
            self.enter_startup();
        }
    }
}
