//! Delivery rate estimation. draft-ietf-ccwg-bbr section 4.1.
//!
//! Owns the counts of what was delivered and lost, and takes of each acknowledgement one sample of the rate at which the
//! path takes data. Inputs: packets sent, acknowledged and lost, the sender running dry.
//! Invariants: a sample is never faster than the data was sent, nor than it was acknowledged; it is never taken
//! over less than a round trip.
//!
//! The rate counts what the *bottleneck* carried: a packet lost behind it has used it. Of the loss, as much counts as carried as
//! is usual on the path when no queue stands ([`super::noise`]); without such loss it is the draft's rate.

use std::time::Duration;

use crate::time::Time;

/// The state of delivery when a packet was sent.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Snapshot {
    /// Bytes delivered and lost until then.
    pub(super) delivered: u64,
    pub(super) lost: u64,
    /// When the last of them was delivered.
    delivered_at: Time,
    /// When the flight began in which this packet was sent.
    first_sent_at: Time,
    /// Bytes in flight, this packet included.
    pub(super) in_flight: u64,
    /// The application had too little to send.
    pub(super) app_limited: bool,
}

/// What one acknowledgement says about the path.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RateSample {
    /// Bytes per second; 0: the acknowledgement allows no estimate.
    pub(super) rate: u64,
    /// Bytes that the path took in the interval of the sample.
    pub(super) volume: u64,
    /// Bytes delivered when the newest acknowledged packet was sent.
    pub(super) prior_delivered: u64,
    /// Bytes lost, and lost or delivered, since then.
    pub(super) lost: u64,
    pub(super) settled: u64,
    /// Bytes in flight when it was sent.
    pub(super) in_flight: u64,
    pub(super) app_limited: bool,
    /// Bytes that this acknowledgement delivered.
    pub(super) newly_acked: u64,
}

#[derive(Debug, Default)]
pub(super) struct Sampler {
    /// Bytes delivered and lost since the beginning.
    pub(super) delivered: u64,
    pub(super) lost: u64,
    delivered_at: Time,
    first_sent_at: Time,
    /// Samples are limited by the application until more than this is delivered; 0: they are not.
    app_limited_until: u64,
    /// Of the packets of the acknowledgement, the one sent last.
    newest: Option<(Time, Snapshot)>,
    newly_acked: u64,
}

impl Sampler {
    /// `in_flight` is before the packet.
    pub(super) fn on_sent(&mut self, now: Time, bytes: u64, in_flight: u64) -> Snapshot {
        if in_flight == 0 {
            self.first_sent_at = now;
            self.delivered_at = now;
        }
        Snapshot {
            delivered: self.delivered,
            lost: self.lost,
            delivered_at: self.delivered_at,
            first_sent_at: self.first_sent_at,
            in_flight: in_flight.saturating_add(bytes),
            app_limited: self.app_limited(),
        }
    }

    pub(super) fn on_acked(&mut self, now: Time, bytes: u64, sent_at: Time, snapshot: &Snapshot) {
        self.delivered += bytes;
        self.delivered_at = now;
        self.newly_acked += bytes;
        if self.delivered > self.app_limited_until {
            self.app_limited_until = 0;
        }
        if self
            .newest
            .is_none_or(|(at, newest)| (snapshot.delivered, sent_at) >= (newest.delivered, at))
        {
            self.newest = Some((sent_at, *snapshot));
        }
    }

    pub(super) fn on_lost(&mut self, bytes: u64) {
        self.lost += bytes;
    }

    /// What was counted as lost has arrived.
    pub(super) fn on_spurious(&mut self, bytes: u64) {
        self.lost = self.lost.saturating_sub(bytes);
    }

    pub(super) fn on_app_limited(&mut self, in_flight: u64) {
        self.app_limited_until = (self.delivered + in_flight).max(1);
    }

    pub(super) fn app_limited(&self) -> bool {
        self.app_limited_until > 0
    }

    /// The sample of the packets acknowledged since the last call; `None`: there were none. `noise` is the fraction of packets that is
    /// lost without a queue.
    pub(super) fn take(&mut self, min_rtt: Option<Duration>, noise: f64) -> Option<RateSample> {
        let (sent_at, prior) = self.newest.take()?;
        let newly_acked = std::mem::take(&mut self.newly_acked);
        // More than was delivered: the snapshot is of the sampler of another path.
        let delivered = self.delivered.checked_sub(prior.delivered)?;
        self.first_sent_at = sent_at;
        let lost = self.lost.saturating_sub(prior.lost);
        let settled = delivered + lost;
        // Either bound alone goes wrong: the first counts drops of a full queue as carried, the second runs away upwards
        // whenever fewer packets than usual were lost.
        let volume = settled.min((delivered as f64 / (1.0 - noise)) as u64);
        let interval = sent_at
            .since(prior.first_sent_at)
            .max(self.delivered_at.since(prior.delivered_at));
        // An interval shorter than a round trip comes of acknowledgements that were compressed or packets sent in a burst.
        let usable = !interval.is_zero() && min_rtt.is_none_or(|min| interval >= min);
        Some(RateSample {
            rate: if usable { rate(volume, interval) } else { 0 },
            volume,
            prior_delivered: prior.delivered,
            lost,
            settled,
            in_flight: prior.in_flight,
            app_limited: prior.app_limited,
            newly_acked,
        })
    }
}

/// Bytes per second.
pub(super) fn rate(bytes: u64, interval: Duration) -> u64 {
    let nanos = interval.as_nanos().max(1);
    u64::try_from(u128::from(bytes) * 1_000_000_000 / nanos).unwrap_or(u64::MAX)
}

/// Bytes that go at `rate` in `interval`.
pub(super) fn volume(rate: u64, interval: Duration) -> u64 {
    u64::try_from(u128::from(rate) * interval.as_nanos() / 1_000_000_000).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Time {
        Time::from_nanos(ms * 1_000_000)
    }

    /// Sends 20 packets, one each millisecond, and acknowledges them after 10 ms, one each `gap` milliseconds.
    fn run(gap: u64, lost: &[u64], noise: f64) -> RateSample {
        let mut sampler = Sampler::default();
        let mut sent = Vec::new();
        for i in 0..20 {
            sent.push((ms(i), sampler.on_sent(ms(i), 1000, i * 1000)));
        }
        for (i, (at, snapshot)) in sent.iter().enumerate() {
            if lost.contains(&(i as u64)) {
                sampler.on_lost(1000);
            } else {
                sampler.on_acked(ms(10 + (i as u64 + 1) * gap), 1000, *at, snapshot);
            }
        }
        sampler.take(Some(Duration::from_millis(10)), noise).unwrap()
    }

    #[test]
    fn the_slower_of_sending_and_acknowledging_counts() {
        // The acknowledgements come in 20 x 2 + 10 ms.
        assert_eq!(run(2, &[], 0.0).rate, 400_000);
        // All at once after 10 ms: no more than was sent in 19 ms.
        assert_eq!(run(0, &[], 0.0).rate, 20_000 * 1000 / 19);
    }

    #[test]
    fn loss_counts_as_carried_up_to_what_is_usual() {
        let clean = run(2, &[], 0.0).rate;
        assert_eq!(run(2, &[3, 7], 0.0).rate, clean * 18 / 20, "the draft's rate");
        assert_eq!(run(2, &[3, 7], 0.1).rate, clean);
        let lossy = run(2, &[3, 7, 11, 12], 0.1).rate as f64;
        assert!((lossy / (clean as f64 * 16.0 / 20.0 / 0.9) - 1.0).abs() < 1e-3);
        assert_eq!(run(2, &[], 0.1).rate, clean, "a lucky interval is no faster link");
    }

    #[test]
    fn too_short_an_interval_gives_no_rate() {
        let mut sampler = Sampler::default();
        let snapshot = sampler.on_sent(ms(0), 1000, 0);
        sampler.on_acked(ms(9), 1000, ms(0), &snapshot);
        assert_eq!(sampler.take(Some(Duration::from_millis(10)), 0.0).unwrap().rate, 0);
        assert!(sampler.take(None, 0.0).is_none());
    }

    #[test]
    fn limited_until_what_was_in_flight_is_delivered() {
        let mut sampler = Sampler::default();
        let first = sampler.on_sent(ms(0), 1000, 0);
        sampler.on_app_limited(1000);
        let second = sampler.on_sent(ms(1), 1000, 1000);
        assert!(!first.app_limited && second.app_limited);
        sampler.on_acked(ms(10), 1000, ms(0), &first);
        assert!(sampler.app_limited());
        assert!(!sampler.take(None, 0.0).unwrap().app_limited);
        sampler.on_acked(ms(11), 1000, ms(1), &second);
        assert!(!sampler.app_limited());
        assert!(sampler.take(None, 0.0).unwrap().app_limited);
    }

    #[test]
    fn an_idle_sender_is_limited() {
        let mut sampler = Sampler::default();
        sampler.on_app_limited(0);
        assert!(sampler.on_sent(ms(0), 1000, 0).app_limited);
    }

    #[test]
    fn a_packet_of_another_path_gives_no_sample() {
        let mut left = Sampler::default();
        for at in 0..3 {
            let snapshot = left.on_sent(ms(at), 1000, 0);
            left.on_acked(ms(at), 1000, ms(at), &snapshot);
        }
        let stray = left.on_sent(ms(4), 1000, 0);
        let mut sampler = Sampler::default();
        sampler.on_acked(ms(5), 1000, ms(4), &stray);
        assert!(sampler.take(None, 0.0).is_none());
    }

    #[test]
    fn a_flight_after_idleness_is_measured_alone() {
        let mut sampler = Sampler::default();
        let early = sampler.on_sent(ms(0), 1000, 0);
        sampler.on_acked(ms(10), 1000, ms(0), &early);
        sampler.take(None, 0.0);
        let late = sampler.on_sent(ms(5000), 1000, 0);
        sampler.on_acked(ms(5010), 1000, ms(5000), &late);
        assert_eq!(sampler.take(None, 0.0).unwrap().rate, 100_000);
    }
}
