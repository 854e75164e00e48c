//! Acknowledgements that come in lumps. draft-ietf-ccwg-bbr section 5.5.9.
//!
//! Owns how much more than the bandwidth explains is acknowledged at once, by which the window is enlarged, so that the sender can go on until
//! the next lump. Inputs: acknowledgements.

use super::{Bbr, filters::MaxOfRounds, sampler, sampler::RateSample};
use crate::time::Time;

/// How many bytes more than the bandwidth explains are acknowledged at once: aggregation on the path and in the receiver.
#[derive(Debug, Default)]
pub(super) struct ExtraAcked {
    filter: MaxOfRounds,
    since: Time,
    delivered: u64,
}

impl ExtraAcked {
    pub(super) fn new(now: Time) -> Self {
        Self {
            since: now,
            ..Self::default()
        }
    }

    /// Bytes, of the last ten rounds.
    pub(super) fn max(&self) -> u64 {
        self.filter.max()
    }

    pub(super) fn restart(&mut self, now: Time) {
        self.since = now;
        self.delivered = 0;
    }

    /// `expected` bytes should have come since the beginning of the interval.
    fn add(&mut self, now: Time, expected: u64, newly_acked: u64) -> u64 {
        let mut expected = expected;
        if self.delivered <= expected {
            self.restart(now);
            expected = 0;
        }
        self.delivered += newly_acked;
        self.delivered - expected
    }
}

impl Bbr {
    /// draft section 5.5.9.
    pub(super) fn update_extra_acked(&mut self, now: Time, sample: &RateSample) {
        let rounds = if self.full_pipe.reached { 10 } else { 1 };
        let expected = sampler::volume(self.bandwidth, now.since(self.extra_acked.since));
        let extra = self
            .extra_acked
            .add(now, expected, sample.newly_acked)
            .min(self.control.window);
        self.extra_acked.filter.update(self.rounds.count, extra, rounds);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn lumps_count_and_a_steady_flow_does_not() {
        let mut extra = ExtraAcked::new(Time::ZERO);
        let mut now = Time::ZERO;
        for _ in 0..10 {
            now += Duration::from_millis(1);
            // As much as was expected: each begins an interval.
            assert_eq!(extra.add(now, 1000 * u64::from(extra.delivered > 0), 1000), 1000);
        }
        extra.restart(now);
        assert_eq!(extra.add(now, 0, 20_000), 20_000, "a lump");
        assert_eq!(extra.add(now, 5_000, 1_000), 16_000, "of which a part was due by now");
    }
}
