//! The loss that is there without congestion.
//!
//! Owns the estimate of the path's own loss: radio, not queues. The draft takes more than 2 % of loss for congestion, and on
//! a path that always loses 3 % it starves. Here only the excess over the usual loss counts.
//! Inputs: what was lost and delivered while no queue stood and the sender went no faster than the path.
//! Invariants: the fraction is between 0 and [`MAX`].

/// More is never believed to be the path's own.
const MAX: f64 = 0.3;
/// Packets over which the fraction is averaged.
const WINDOW: f64 = 3000.0;
/// Packets without loss that are assumed to begin with, so that the first few do not decide.
const PRIOR: f64 = 60.0;
/// Standard deviations by which loss must exceed the usual before it means something.
const SIGNIFICANT: f64 = 2.0;

#[derive(Debug)]
pub(super) struct Noise {
    /// Fraction of packets reported lost.
    reported: f64,
    /// Fraction of packets that were reported lost and arrived after all, overtaken by others.
    spurious: f64,
    /// Packets it rests on.
    weight: f64,
    /// Packets lost together, on average.
    burst: f64,
}

impl Noise {
    pub(super) fn new() -> Self {
        Self {
            reported: 0.0,
            spurious: 0.0,
            weight: PRIOR,
            burst: 1.0,
        }
    }

    /// Fraction of packets that the path loses indeed.
    pub(super) fn fraction(&self) -> f64 {
        (self.reported - self.spurious).clamp(0.0, MAX)
    }

    /// `lost` of `settled` packets were lost while there was no queue.
    pub(super) fn learn(&mut self, lost: u32, settled: u32) {
        if settled == 0 {
            return;
        }
        self.learn_round(lost, settled);
        if lost > 0 {
            self.burst += (f64::from(lost) - self.burst) / 32.0;
        }
    }

    /// The same of a whole round, which says nothing of bursts.
    pub(super) fn learn_round(&mut self, lost: u32, settled: u32) {
        let (lost, settled) = (f64::from(lost), f64::from(settled));
        self.weight = (self.weight + settled).min(WINDOW);
        self.reported = (self.reported + (lost - self.reported * settled) / self.weight).clamp(0.0, 1.0);
        self.spurious = (self.spurious - self.spurious * settled / self.weight).max(0.0);
    }

    /// `count` packets reported lost were not. Such reports stay usual, but carry nothing.
    pub(super) fn on_spurious(&mut self, count: u32) {
        self.spurious = (self.spurious + f64::from(count) / self.weight).min(self.reported);
    }

    /// How many of the `lost` bytes, of `settled` in all, the path's own loss does not explain.
    pub(super) fn excess(&self, lost: u64, settled: u64, packet: u64) -> u64 {
        let packets = settled as f64 / packet as f64;
        let fraction = self.reported.min(MAX);
        // The losses of a burst come together: its variance is that of so many times fewer, larger losses.
        let variance = packets * fraction * (1.0 - fraction) * (2.0 * self.burst - 1.0);
        let usual = (packets * fraction + SIGNIFICANT * variance.sqrt()) * packet as f64;
        lost.saturating_sub(usual as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Loses every `every`-th packet.
    fn learned(every: u32, packets: u32) -> Noise {
        let mut noise = Noise::new();
        for i in 0..packets / 2 {
            noise.learn(u32::from((2 * i) % every == 0), 2);
        }
        noise
    }

    #[test]
    fn learns_and_forgets() {
        let mut noise = learned(10, 6000);
        assert!((noise.fraction() - 0.1).abs() < 0.01, "{noise:?}");
        for _ in 0..10_000 {
            noise.learn(0, 2);
        }
        assert!(noise.fraction() < 0.001, "{noise:?}");
    }

    #[test]
    fn the_first_packets_do_not_decide() {
        let mut noise = Noise::new();
        noise.learn(1, 1);
        assert!(noise.fraction() < 0.02);
    }

    #[test]
    fn only_the_excess_counts() {
        let clean = Noise::new();
        assert_eq!(clean.excess(1000, 100_000, 1000), 1000, "any loss on a clean path");
        let noise = learned(10, 6000);
        assert_eq!(noise.excess(10_000, 100_000, 1000), 0);
        assert_eq!(noise.excess(14_000, 100_000, 1000), 0, "chance");
        assert!(noise.excess(30_000, 100_000, 1000) > 10_000);
    }

    #[test]
    fn bursts_widen_what_is_chance() {
        let mut bursty = Noise::new();
        for _ in 0..100 {
            bursty.learn(4, 4);
            bursty.learn(0, 196);
        }
        let single = learned(50, 20_000);
        assert!(bursty.excess(8_000, 130_000, 1000) < single.excess(8_000, 130_000, 1000));
        assert_eq!(bursty.excess(8_000, 130_000, 1000), 0);
    }

    #[test]
    fn never_believes_that_most_is_lost() {
        let mut noise = Noise::new();
        noise.learn(10_000, 10_000);
        assert!(noise.fraction() <= MAX);
        noise.on_spurious(u32::MAX);
        assert_eq!(noise.fraction(), 0.0);
    }

    #[test]
    fn spurious_reports_are_usual_but_lose_nothing() {
        let mut noise = learned(5, 6000);
        for _ in 0..3000 {
            noise.learn(1, 5);
            noise.on_spurious(1);
        }
        assert!(noise.fraction() < 0.01, "{noise:?}");
        assert_eq!(noise.excess(20_000, 100_000, 1000), 0);
    }
}
