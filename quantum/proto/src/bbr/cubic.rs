//! The window of CUBIC, RFC 9438: what a flow may hold in a queue that others fill.
//!
//! Owned while [`super::rival`] finds that the queue belongs to others. Inputs: acknowledged bytes, rounds, congestion.
//! Invariants: the window falls to 0.7 at most once per congestion reported, and grows by at most half in a round.
//!
//! It begins with what the flow had in flight, and first grows until it holds about half of the queue: half more in flight makes a round trip longer by
//! a fifth when the flow has two fifths of the path, whatever the path.

use std::time::Duration;

use crate::time::Time;

const BETA: f64 = 0.7;
/// Packets per cubic second.
const SCALING: f64 = 0.4;
/// Packets per round of the Reno flow with the same decrease: 3 (1 - beta) / (1 + beta).
const RENO: f64 = 0.53;
const STEP: f64 = 1.5;
const STEP_RTT: f64 = 1.2;
/// Rounds until a larger window shows in the round trip.
const STEP_ROUNDS: u32 = 3;

#[derive(Debug)]
pub(super) struct Cubic {
    /// Bytes.
    pub(super) window: f64,
    /// The window of the last congestion.
    max: f64,
    epoch: Option<Time>,
    /// Seconds from the beginning of the epoch until the window is back at `max`.
    delay: f64,
    reno: f64,
    join: Option<Join>,
}

/// The growth to a fair part.
#[derive(Debug)]
struct Join {
    window: f64,
    rtt: Duration,
    rounds: u32,
}

impl Cubic {
    pub(super) fn new(window: u64, rtt: Duration) -> Self {
        let window = window as f64;
        Self {
            window,
            max: window,
            epoch: None,
            delay: 0.0,
            reno: window,
            join: Some(Join {
                window: window * STEP,
                rtt,
                rounds: 0,
            }),
        }
    }

    /// A round of packets, `rtt` its least round trip.
    pub(super) fn on_round(&mut self, rtt: Duration) {
        let Some(join) = &mut self.join else { return };
        join.rounds += 1;
        if join.rounds < STEP_ROUNDS {
            return;
        }
        if rtt > join.rtt.mul_f64(STEP_RTT) {
            self.join = None;
        } else {
            *join = Join {
                window: self.window * STEP,
                rtt,
                rounds: 0,
            };
        }
    }

    pub(super) fn on_acked(&mut self, now: Time, bytes: u64, rtt: Duration, packet: u64) {
        let (bytes, packet) = (bytes as f64, packet as f64);
        if let Some(join) = &self.join {
            self.window = (self.window + bytes * (STEP - 1.0)).min(join.window);
            return;
        }
        if self.epoch.is_none() {
            self.epoch = Some(now);
            self.max = self.max.max(self.window);
            self.delay = ((self.max - self.window) / packet / SCALING).cbrt();
            self.reno = self.window;
        }
        let elapsed = now.since(self.epoch.unwrap_or(now)) + rtt;
        let target = self.max + SCALING * (elapsed.as_secs_f64() - self.delay).powi(3) * packet;
        let target = target.clamp(self.window, self.window * 1.5);
        self.reno += RENO * bytes * packet / self.window;
        self.window = (self.window + (target - self.window) * bytes / self.window).max(self.reno);
    }

    pub(super) fn on_congestion(&mut self, packet: u64) {
        // Fast convergence: a flow that lost before it was back gives way to newer ones.
        self.max = if self.window < self.max {
            self.window * (1.0 + BETA) / 2.0
        } else {
            self.window
        };
        self.window = (self.window * BETA).max(2.0 * packet as f64);
        self.epoch = None;
        self.join = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKET: u64 = 1000;
    const RTT: Duration = Duration::from_millis(100);

    /// A round in which the whole window is acknowledged, ten packets at a time.
    fn round(cubic: &mut Cubic, start: Time) {
        let window = cubic.window as u64;
        for i in 0..10 {
            cubic.on_acked(start + RTT * i / 10, window / 10, RTT, PACKET);
        }
    }

    fn joined(window: u64) -> Cubic {
        let mut cubic = Cubic::new(window, RTT);
        cubic.join = None;
        cubic
    }

    #[test]
    fn joins_until_the_round_trip_answers() {
        let mut cubic = Cubic::new(100_000, RTT);
        for i in 0..6 {
            round(&mut cubic, Time::ZERO + RTT * i);
            cubic.on_round(RTT);
        }
        assert!(
            (cubic.window / 225_000.0 - 1.0).abs() < 0.01,
            "two steps: {}",
            cubic.window
        );
        for _ in 0..3 {
            cubic.on_round(RTT.mul_f64(1.3));
        }
        assert!(cubic.join.is_none());
    }

    #[test]
    fn returns_to_the_window_of_the_loss_and_passes_it() {
        let mut cubic = joined(100_000);
        cubic.on_congestion(PACKET);
        assert_eq!(cubic.window, 70_000.0);
        let mut windows = Vec::new();
        for i in 0..80 {
            round(&mut cubic, Time::ZERO + RTT * i);
            windows.push(cubic.window);
        }
        // K = cbrt(30 / 0.4) = 4.2 s.
        assert!((windows[41] / 100_000.0 - 1.0).abs() < 0.02, "{}", windows[41]);
        assert!(windows[79] > 110_000.0);
        assert!(windows.windows(2).all(|w| w[1] >= w[0]));
    }

    #[test]
    fn is_no_slower_than_reno_on_a_short_path() {
        let mut cubic = joined(20_000);
        cubic.on_congestion(PACKET);
        for i in 0..11 {
            round(&mut cubic, Time::ZERO + RTT * i);
        }
        assert!(cubic.window > 14_000.0 + 5_000.0, "{}", cubic.window);
    }
}
