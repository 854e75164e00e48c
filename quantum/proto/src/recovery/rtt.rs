//! The round-trip time: RFC 6298 and RFC 9002 section 5.
//!
//! Owns the estimate of one path. Inputs: samples, each of a packet number that was sent once (Karn's rule by construction).
//! Invariants: before the first sample the estimate is the assumed one; the minimum is never above a sample.

use std::time::Duration;

/// The finest step of a timer. RFC 9002 section 6.1.2 (kGranularity).
pub(super) const GRANULARITY: Duration = Duration::from_millis(1);

/// The round-trip time.
#[derive(Clone, Debug)]
pub(crate) struct Rtt {
    pub(crate) smoothed: Duration,
    pub(crate) variation: Duration,
    pub(crate) latest: Duration,
    /// Of the whole connection on this path.
    pub(crate) min: Duration,
    /// At least one sample was taken.
    pub(crate) sampled: bool,
}

impl Rtt {
    /// Nothing was measured yet: every field follows from what is assumed. RFC 9002 section 5.3.
    pub(super) fn new(initial: Duration) -> Self {
        Self {
            smoothed: initial,
            variation: initial / 2,
            latest: initial,
            min: initial,
            sampled: false,
        }
    }

    /// Takes a sample. `held` is how long the peer kept the acknowledgement back; it is believed as far as the sample stays
    /// above the minimum, which is taken without it. RFC 9002 sections 5.2 and 5.3.
    pub(super) fn on_sample(&mut self, sample: Duration, held: Duration) {
        self.latest = sample;
        if !self.sampled {
            *self = Self {
                smoothed: sample,
                variation: sample / 2,
                latest: sample,
                min: sample,
                sampled: true,
            };
            return;
        }
        self.min = self.min.min(sample);
        let adjusted = if sample >= self.min + held {
            sample - held
        } else {
            sample
        };
        let deviation = self.smoothed.abs_diff(adjusted);
        self.variation = (self.variation * 3 + deviation) / 4;
        self.smoothed = (self.smoothed * 7 + adjusted) / 8;
    }

    /// What the time threshold is a multiple of: a path that just became slower counts at once. RFC 9002 section 6.1.2.
    pub(super) fn loss_base(&self) -> Duration {
        self.smoothed.max(self.latest)
    }

    /// How long to wait for an acknowledgement that the peer holds back for up to `max_ack_delay`. RFC 9002 section 6.2.1.
    pub(super) fn probe_timeout(&self, max_ack_delay: Duration) -> Duration {
        self.smoothed + (self.variation * 4).max(GRANULARITY) + max_ack_delay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn the_first_sample_replaces_what_was_assumed() {
        let mut rtt = Rtt::new(ms(100));
        assert_eq!((rtt.smoothed, rtt.variation, rtt.sampled), (ms(100), ms(50), false));
        rtt.on_sample(ms(40), ms(30));
        assert_eq!(
            (rtt.smoothed, rtt.variation, rtt.latest, rtt.min),
            (ms(40), ms(20), ms(40), ms(40))
        );
        assert!(rtt.sampled);
    }

    #[test]
    fn delay_is_taken_off_unless_it_leads_below_the_minimum() {
        let cases = [
            // sample, held, smoothed after it, variation after it (from 80 and 40)
            (ms(80), ms(0), ms(80), ms(30)),
            (ms(104), ms(8), ms(82), ms(34)),
            (ms(104), ms(24), ms(80), ms(30)),
            // 104 - 25 would be less than the minimum of 80: the peer's word is not taken.
            (ms(104), ms(25), ms(83), ms(36)),
            // A new minimum is not adjusted.
            (ms(64), ms(5), ms(78), ms(34)),
        ];
        for (sample, held, smoothed, variation) in cases {
            let mut rtt = Rtt::new(ms(100));
            rtt.on_sample(ms(80), ms(0));
            rtt.on_sample(sample, held);
            assert_eq!(
                (rtt.smoothed, rtt.variation),
                (smoothed, variation),
                "{sample:?} held {held:?}"
            );
            assert_eq!((rtt.latest, rtt.min), (sample, sample.min(ms(80))));
        }
    }

    #[test]
    fn probe_timeout_has_a_granularity() {
        let mut rtt = Rtt::new(ms(100));
        assert_eq!(rtt.probe_timeout(ms(0)), ms(300));
        for _ in 0..200 {
            rtt.on_sample(ms(20), ms(0));
        }
        assert_eq!(rtt.probe_timeout(ms(5)).as_millis(), 26);
        assert_eq!(rtt.loss_base(), ms(20));
        rtt.on_sample(ms(60), ms(0));
        assert_eq!(rtt.loss_base(), ms(60));
    }
}
