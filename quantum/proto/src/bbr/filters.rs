//! Filters over what was measured of late.
//!
//! Each keeps a few numbers, whatever its window.

use std::time::Duration;

/// The largest of the present and the last cycle. draft-ietf-ccwg-bbr section 5.5.6.
#[derive(Debug, Default)]
pub(super) struct MaxOfCycles {
    last: u64,
    present: u64,
}

impl MaxOfCycles {
    pub(super) fn max(&self) -> u64 {
        self.last.max(self.present)
    }

    pub(super) fn update(&mut self, value: u64) {
        self.present = self.present.max(value);
    }

    /// A cycle is over. One that measured nothing ages nothing.
    pub(super) fn advance(&mut self) {
        if self.present > 0 {
            self.last = std::mem::take(&mut self.present);
        }
    }
}

/// The largest of a number of rounds: the best three of falling age, as in Kathleen Nichols' filter.
#[derive(Debug, Default)]
pub(super) struct MaxOfRounds {
    best: [(u64, u64); 3],
}

impl MaxOfRounds {
    pub(super) fn max(&self) -> u64 {
        self.best[0].1
    }

    pub(super) fn update(&mut self, round: u64, value: u64, window: u64) {
        let new = (round, value);
        let [first, second, third] = &mut self.best;
        if value >= first.1 || round.saturating_sub(third.0) > window {
            self.best = [new; 3];
            return;
        }
        if value >= second.1 {
            (*second, *third) = (new, new);
        } else if value >= third.1 {
            *third = new;
        }
        if round.saturating_sub(first.0) > window {
            (*first, *second, *third) = (*second, *third, new);
        } else if second.0 == first.0 && round.saturating_sub(first.0) > window / 4 {
            (*second, *third) = (new, new);
        } else if third.0 == second.0 && round.saturating_sub(second.0) > window / 2 {
            *third = new;
        }
    }
}

/// The smallest round trip of the last 8 to 16 samples: the queue without the jitter.
#[derive(Debug, Default)]
pub(super) struct RecentMin {
    last: Option<Duration>,
    present: Option<Duration>,
    /// Samples of the last and the present.
    counts: (u32, u32),
}

impl RecentMin {
    const SAMPLES: u32 = 8;

    pub(super) fn update(&mut self, rtt: Duration) {
        self.present = Some(self.present.map_or(rtt, |present| present.min(rtt)));
        self.counts.1 += 1;
        if self.counts.1 >= Self::SAMPLES {
            self.turn();
        }
    }

    /// A round began: few samples must not keep an old one.
    pub(super) fn turn(&mut self) {
        if self.present.is_some() {
            self.last = self.present.take();
            self.counts = (self.counts.1, 0);
        }
    }

    /// Rests on as many samples as it should.
    pub(super) fn is_sure(&self) -> bool {
        self.counts.0 + self.counts.1 >= Self::SAMPLES
    }

    pub(super) fn min(&self) -> Option<Duration> {
        match (self.last, self.present) {
            (Some(last), Some(present)) => Some(last.min(present)),
            (last, present) => last.or(present),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_maximum_lasts_two_cycles() {
        let mut filter = MaxOfCycles::default();
        filter.update(10);
        filter.advance();
        filter.update(7);
        assert_eq!(filter.max(), 10);
        filter.advance();
        assert_eq!(filter.max(), 7);
        filter.advance();
        assert_eq!(filter.max(), 7, "nothing was measured: nothing is forgotten");
    }

    #[test]
    fn the_recent_minimum_forgets() {
        let mut filter = RecentMin::default();
        assert_eq!(filter.min(), None);
        filter.update(Duration::from_millis(1));
        for _ in 0..16 {
            assert_eq!(filter.min(), Some(Duration::from_millis(1)));
            filter.update(Duration::from_millis(5));
            if filter.last == Some(Duration::from_millis(5)) {
                break;
            }
        }
        assert_eq!(filter.min(), Some(Duration::from_millis(5)));
        filter.turn();
        filter.update(Duration::from_millis(6));
        filter.turn();
        assert_eq!(filter.min(), Some(Duration::from_millis(6)));
    }

    proptest! {
        /// At least the newest value, at most the exact maximum; the exact one while it is fresh.
        #[test]
        fn rounds_are_bounded_by_the_exact_maximum(values in proptest::collection::vec(0u64..1000, 1..200)) {
            let (mut filter, mut exact) = (MaxOfRounds::default(), VecDeque::new());
            for (round, value) in values.into_iter().enumerate() {
                filter.update(round as u64, value, 10);
                exact.push_back(value);
                if exact.len() > 11 {
                    exact.pop_front();
                }
                let max = exact.iter().copied().max().unwrap_or(0);
                prop_assert!(filter.max() <= max && filter.max() >= value);
                if exact.iter().rev().take(3).any(|&v| v == max) {
                    prop_assert_eq!(filter.max(), max);
                }
            }
        }
    }
}
