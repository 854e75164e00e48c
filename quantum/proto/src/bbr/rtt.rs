//! The round trip of the empty path, and what of the present one is queue.
//!
//! Owns two minima: `min`, over ten seconds, is the model's; `probe_min`, over five, tells when to drain the queue for a look
//! (draft-ietf-ccwg-bbr section 5.3.4). Inputs: samples of the round trip.
//! Invariants: `min` rises only after ten seconds without a sample near it.

use std::time::Duration;

use super::filters::{MaxOfCycles, RecentMin};
use crate::time::Time;

const MIN_LIFE: Duration = Duration::from_secs(10);
/// The same while others fill the queue, which may hide the empty path for long.
const MIN_LIFE_PATIENT: Duration = Duration::from_secs(30);
pub(super) const PROBE_INTERVAL: Duration = Duration::from_secs(5);
/// A queue shorter than this cannot be told from the noise of timers.
pub(super) const BLUR: Duration = Duration::from_millis(1);

#[derive(Debug)]
pub(super) struct RttModel {
    min: Option<Duration>,
    min_at: Time,
    probe_min: Duration,
    probe_min_at: Time,
    recent: RecentMin,
    /// Nanoseconds, of the last five to ten seconds.
    longest: MaxOfCycles,
    longest_since: Time,
    life: Duration,
    /// Nothing near the minimum was seen for [`PROBE_INTERVAL`].
    pub(super) expired: bool,
}

impl RttModel {
    pub(super) fn new(now: Time) -> Self {
        Self {
            min: None,
            min_at: now,
            probe_min: Duration::MAX,
            probe_min_at: now,
            recent: RecentMin::default(),
            longest: MaxOfCycles::default(),
            longest_since: now,
            life: MIN_LIFE,
            expired: false,
        }
    }

    /// The round trip without queue; `None` before the first sample.
    pub(super) fn min(&self) -> Option<Duration> {
        self.min
    }

    /// The round trip of late, jitter filtered out.
    pub(super) fn recent(&self) -> Duration {
        self.recent.min().or(self.min).unwrap_or_default()
    }

    /// How long packets of late stood in queues.
    pub(super) fn queue(&self) -> Duration {
        self.recent().saturating_sub(self.min.unwrap_or_default())
    }

    /// Packets of late stood in a queue of more than that fraction of the round trip.
    pub(super) fn queued(&self, fraction: u32) -> bool {
        self.queue() > BLUR.max(self.min.unwrap_or_default() / fraction)
    }

    /// Packets of late all stood in a queue of more than `bound`.
    pub(super) fn surely_above(&self, bound: Duration) -> bool {
        self.recent.is_sure() && self.queue() > bound
    }

    /// The queue in which a packet with this round trip stood was once twice as long, and so did not overflow.
    pub(super) fn below_half(&self, rtt: Duration) -> bool {
        let min = self.min.unwrap_or_default();
        let longest = Duration::from_nanos(self.longest.max()).saturating_sub(min);
        rtt.saturating_sub(min) <= longest / 2
    }

    /// A packet with this round trip stood in no queue worth the name.
    pub(super) fn quiet(&self, rtt: Duration) -> bool {
        self.min.is_some_and(|min| rtt.saturating_sub(min) <= BLUR.max(min / 8))
    }

    pub(super) fn on_round(&mut self) {
        self.recent.turn();
    }

    /// Notes a sample as recent. [`Self::update`] follows, once it is clear whether the old minimum is still needed.
    pub(super) fn sample(&mut self, rtt: Duration) {
        self.recent.update(rtt);
    }

    /// Whether the look into the empty path is due.
    pub(super) fn check_expiry(&mut self, now: Time) -> bool {
        self.expired = self.min.is_some() && now.since(self.probe_min_at) > PROBE_INTERVAL;
        self.expired
    }

    pub(super) fn update(&mut self, now: Time, rtt: Duration) {
        if now.since(self.longest_since) > PROBE_INTERVAL {
            self.longest.advance();
            self.longest_since = now;
        }
        self.longest.update(u64::try_from(rtt.as_nanos()).unwrap_or(u64::MAX));
        // Within a thirty-second the queue is empty: on a quiet path no look is ever due.
        let near = self.probe_min != Duration::MAX && rtt <= self.probe_min + self.probe_min / 32;
        if near {
            self.probe_min = self.probe_min.min(rtt);
            self.probe_min_at = now;
        } else if rtt < self.probe_min || self.expired {
            self.probe_min = rtt;
            self.probe_min_at = now;
        }
        let stale = now.since(self.min_at) > self.life;
        match self.min {
            Some(min) if self.probe_min > min + min / 32 && !stale => {}
            Some(min) if !stale => {
                self.min = Some(min.min(self.probe_min));
                self.min_at = self.min_at.max(self.probe_min_at);
            }
            _ => {
                self.min = Some(self.probe_min);
                self.min_at = self.probe_min_at;
            }
        }
    }

    /// Others fill the queue, or no longer.
    pub(super) fn set_patient(&mut self, patient: bool) {
        self.life = if patient { MIN_LIFE_PATIENT } else { MIN_LIFE };
    }

    /// The look was taken, or there is no need of one: the next is due after the whole interval.
    pub(super) fn postpone(&mut self, now: Time) {
        self.probe_min_at = now;
        self.expired = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn feed(model: &mut RttModel, at: Duration, rtt: Duration) {
        let now = Time::ZERO + at;
        model.check_expiry(now);
        model.sample(rtt);
        model.update(now, rtt);
    }

    #[test]
    fn falls_at_once_and_rises_after_ten_seconds() {
        let mut model = RttModel::new(Time::ZERO);
        feed(&mut model, ms(0), ms(50));
        feed(&mut model, ms(10), ms(40));
        assert_eq!(model.min(), Some(ms(40)));
        for second in 1..=10 {
            feed(&mut model, ms(1000 * second), ms(60));
            assert_eq!(model.min(), Some(ms(40)));
        }
        feed(&mut model, ms(10_100), ms(60));
        assert_eq!(model.min(), Some(ms(60)));
    }

    #[test]
    fn a_quiet_path_needs_no_look() {
        let mut model = RttModel::new(Time::ZERO);
        for tick in 0..300 {
            feed(&mut model, ms(tick * 100), ms(40 + tick % 2));
            assert!(!model.expired);
        }
        for tick in 0..49 {
            feed(&mut model, ms(30_000 + tick * 100), ms(50));
            assert!(!model.expired);
        }
        assert!(model.check_expiry(Time::ZERO + ms(36_000)));
        model.postpone(Time::ZERO + ms(36_000));
        assert!(!model.check_expiry(Time::ZERO + ms(40_000)));
    }

    #[test]
    fn the_queue_is_seen_through_jitter() {
        let mut model = RttModel::new(Time::ZERO);
        feed(&mut model, ms(0), ms(60));
        for tick in 1..40 {
            feed(&mut model, ms(tick), ms(60 + (tick * 7) % 16));
        }
        assert!(!model.queued(8));
        for tick in 40..80 {
            feed(&mut model, ms(tick), ms(75 + (tick * 7) % 16));
        }
        assert!(model.queued(8));
        assert!(!model.quiet(ms(75)) && model.quiet(ms(67)));
    }
}
