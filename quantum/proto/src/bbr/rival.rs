//! Whose queue it is.
//!
//! BBR keeps at most a BDP or so in the queue; a flow that fills a deep one leaves it nearly nothing. When the queue
//! does not go while this flow drains its own, others hold it, and then this flow takes part as CUBIC would ([`super::cubic`]), until it goes again.
//!
//! Inputs: rounds, and what ProbeRTT saw. Effects: an early ProbeRTT on suspicion; the window while there are rivals.
//! Invariants: only ProbeRTT decides, and a flow that is alone, or among its like, sees the queue shrink there.

use std::time::Duration;

use super::{
    AckEnd, Bbr, State,
    cubic::Cubic,
    rtt::{BLUR, PROBE_INTERVAL},
    sampler,
    sampler::RateSample,
};
use crate::time::Time;

/// Rounds in a long queue that raise suspicion.
const ROUNDS: u32 = 8;
/// A queue of this part of the round trip, at least, is more than flows of this kind hold.
const QUEUE: f64 = 1.25;
/// A queue of which this flow has a good part shrinks by more than this when it halves its own.
const SHRINK: f64 = 0.75;
/// Faster than the window allows, so that the window decides.
const PACING: f64 = 1.2;

#[derive(Debug, Default)]
pub(super) struct Rival {
    suspicion: u32,
    /// The round trip when ProbeRTT began.
    before: Duration,
    cubic: Option<Cubic>,
    tried_at: Option<Time>,
}

impl Rival {
    /// Others fill the queue.
    pub(super) fn present(&self) -> bool {
        self.cubic.is_some()
    }

    pub(super) fn window(&self) -> Option<u64> {
        self.cubic.as_ref().map(|cubic| cubic.window as u64)
    }

    pub(super) fn on_congestion(&mut self, packet: u64) {
        if let Some(cubic) = &mut self.cubic {
            cubic.on_congestion(packet);
        }
    }
}

impl Bbr {
    fn long_queue(&self, rtt: Duration) -> bool {
        let min = self.rtt.min().unwrap_or_default();
        rtt > min.mul_f64(1.0 + QUEUE) + BLUR
    }

    /// Returns whether a ProbeRTT should settle whose queue it is.
    pub(super) fn suspect_rival(&mut self, now: Time) -> bool {
        let recent = self.rival.tried_at.is_some_and(|at| now.since(at) < PROBE_INTERVAL);
        if !self.rounds.start || self.rival.present() || recent {
            return false;
        }
        let steady = matches!(self.state, State::Down | State::Cruise) && self.cycle.steady();
        if !steady || self.sampler.app_limited() {
            return false;
        }
        self.rival.suspicion = if self.long_queue(self.rtt.recent()) {
            self.rival.suspicion + 1
        } else {
            0
        };
        self.rival.suspicion >= ROUNDS
    }

    pub(super) fn begin_trial(&mut self) {
        self.rival.before = self.rtt.recent();
        self.rival.suspicion = 0;
    }

    /// ProbeRTT is over, and this flow's own part of the queue was gone for a round.
    pub(super) fn judge_rival(&mut self, now: Time) {
        self.rival.tried_at = Some(now);
        let after = self.rtt.recent();
        let long = self.long_queue(after);
        // Among rivals a good part of the queue may be this flow's; that it is long without is enough.
        let stays = long && (self.rival.present() || after > self.rival.before.mul_f64(SHRINK));
        match (&self.rival.cubic, stays) {
            (None, true) => {
                let window = sampler::volume(self.bandwidth, self.rival.before).max(self.min_window());
                self.rival.cubic = Some(Cubic::new(window, self.rival.before));
            }
            (Some(_), false) => self.rival.cubic = None,
            (Some(_), true) => self.max_bandwidth.advance(),
            (None, false) => {
                // The queue was this flow's own, or that of its like: they all think the link is faster than it is.
                if self.long_queue(self.rival.before) {
                    self.max_bandwidth.advance();
                }
            }
        }
        self.rtt.set_patient(self.rival.present());
    }

    pub(super) fn update_rival(&mut self, now: Time, ack: &AckEnd, sample: &RateSample) {
        if self.state == State::ProbeRtt {
            return;
        }
        let limited = self.control.window_limited();
        let Some(cubic) = &mut self.rival.cubic else { return };
        if self.rounds.start {
            cubic.on_round(self.rtt.recent());
        }
        if limited {
            cubic.on_acked(now, sample.newly_acked, ack.smoothed_rtt, self.packet);
        }
    }

    /// Bytes per second that let the window of rivalry decide.
    pub(super) fn rival_rate(&self, ack: &AckEnd) -> Option<u64> {
        let window = self.rival.window()?;
        (self.state != State::ProbeRtt).then(|| (sampler::rate(window, ack.smoothed_rtt) as f64 * PACING) as u64)
    }
}
