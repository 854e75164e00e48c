//! How long to wait before trying again: doubling, with jitter, up to a limit.

use std::time::Duration;

use rand::Rng;

/// Delays between attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The first delay. Default 250 ms.
    pub first: Duration,
    /// The longest. Default 30 s.
    pub max: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(250),
            max: Duration::from_secs(30),
        }
    }
}

impl Backoff {
    /// The same with no longer delays than this.
    pub(crate) fn at_most(self, max: Duration) -> Self {
        let max = self.max.min(max);
        Self { max, ..self }
    }

    /// Before attempt number `attempt`, counted from 0: between half and all of the doubled delay, so that clients that
    /// were cut off together do not come back together.
    pub(crate) fn delay(&self, attempt: u32, rng: &mut impl Rng) -> Duration {
        let doubled = self
            .first
            .saturating_mul(1_u32.checked_shl(attempt).unwrap_or(u32::MAX));
        jittered(doubled.min(self.max), rng)
    }

    /// As [`Self::delay`], and never earlier than `least`, which doubles too; a `least` below the first delay counts as that.
    pub(crate) fn delay_from(&self, least: Duration, attempt: u32, rng: &mut impl Rng) -> Duration {
        let least = least.max(self.first);
        let doubled = least.saturating_mul(1_u32.checked_shl(attempt).unwrap_or(u32::MAX));
        let least = least.max(doubled.min(self.max));
        least + jittered(least / 4, rng)
    }
}

fn jittered(full: Duration, rng: &mut impl Rng) -> Duration {
    full.mul_f64(rng.random_range(0.5..=1.0))
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    #[test]
    fn delays_double_up_to_the_limit_and_differ() {
        let mut rng = StdRng::seed_from_u64(1);
        let backoff = Backoff::default();
        for attempt in 0..100 {
            let full = (backoff.first.as_secs_f64() * 2_f64.powi(attempt)).min(backoff.max.as_secs_f64());
            let delay = backoff.delay(attempt as u32, &mut rng).as_secs_f64();
            assert!((full / 2.0..=full + 1e-6).contains(&delay), "{attempt}: {delay}");
        }
        assert_ne!(backoff.delay(9, &mut rng), backoff.delay(9, &mut rng));
    }

    #[test]
    fn what_the_server_asks_for_is_never_undercut() {
        let mut rng = StdRng::seed_from_u64(2);
        let backoff = Backoff::default();
        for attempt in 0..40 {
            for least in [0, 1, 100, 1_000, 60_000] {
                let least = Duration::from_millis(least);
                assert!(backoff.delay_from(least, attempt, &mut rng) >= least);
            }
        }
        let long = backoff.delay_from(Duration::from_secs(1), 40, &mut rng);
        assert!(long <= backoff.max * 2, "{long:?}");
    }
}
