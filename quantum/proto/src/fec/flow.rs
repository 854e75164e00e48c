//! What is known about the flow of interactive packets: how dense it is, and how large its messages.
//!
//! Inputs: interactive packets that go out, packets of any kind whose fate is known.

use std::time::Duration;

use crate::time::Time;

/// Gaps count as no longer than this.
const MAX_INTERVAL: Duration = Duration::from_secs(1);
/// Weight of a new sample in the means.
const WEIGHT: f64 = 1.0 / 8.0;

#[derive(Debug)]
pub(super) struct Flow {
    last: Option<Time>,
    /// Mean, in seconds.
    interval: Option<f64>,
    bytes: Option<f64>,
    stride: Option<f64>,
    /// Packets with a known fate since the last interactive one went out.
    fates: u32,
}

impl Flow {
    pub(super) fn new() -> Self {
        Self {
            last: None,
            interval: None,
            bytes: None,
            stride: None,
            fates: 0,
        }
    }

    /// An interactive packet goes out, with that many bytes of messages.
    pub(super) fn on_packet(&mut self, now: Time, bytes: usize) {
        if let Some(last) = self.last.replace(now) {
            learn(&mut self.interval, now.since(last).min(MAX_INTERVAL).as_secs_f64());
            learn(&mut self.stride, f64::from(self.fates));
        }
        learn(&mut self.bytes, bytes as f64);
        self.fates = 0;
    }

    /// The fate of a packet of any kind is known.
    pub(super) fn on_fate(&mut self) {
        self.fates = self.fates.saturating_add(1);
    }

    /// The interval between packets to reckon with: the mean, or how long nothing has come. `None` before the second packet.
    pub(super) fn interval(&self, now: Time) -> Option<Duration> {
        let since = now.since(self.last?).min(MAX_INTERVAL);
        Some(Duration::from_secs_f64(self.interval?).max(since))
    }

    /// Mean bytes of messages in a packet, repetitions not counted.
    pub(super) fn bytes(&self) -> f64 {
        self.bytes.unwrap_or(0.0)
    }

    /// Mean number of packets of any kind from one interactive packet to the next, at least 1: bursts of loss count all packets.
    pub(super) fn stride(&self) -> f64 {
        self.stride.unwrap_or(1.0).max(1.0)
    }
}

fn learn(mean: &mut Option<f64>, sample: f64) {
    *mean = Some(mean.map_or(sample, |mean| mean + (sample - mean) * WEIGHT));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn density_is_learned_and_silence_counts() {
        let mut flow = Flow::new();
        assert_eq!(flow.interval(Time::ZERO), None);
        let mut now = Time::ZERO;
        for _ in 0..100 {
            flow.on_packet(now, 300);
            assert_eq!(flow.fates, 0);
            (0..5).for_each(|_| flow.on_fate());
            now += Duration::from_millis(4);
        }
        let interval = flow.interval(now).unwrap().as_secs_f64();
        assert!((interval - 0.004).abs() < 1e-6, "{interval}");
        assert_eq!((flow.bytes(), flow.stride()), (300.0, 5.0));
        assert_eq!(
            flow.interval(now + Duration::from_millis(500)),
            Some(Duration::from_millis(504))
        );
        flow.on_packet(now + Duration::from_secs(60), 300);
        let interval = flow.interval(now + Duration::from_secs(60)).unwrap();
        assert!(
            interval < Duration::from_millis(150),
            "one long gap is not the end of a flow: {interval:?}"
        );
    }
}
