//! What is known about the losses of this direction.
//!
//! Owns the loss rate of the last [`WINDOW`] packets or so, and how losses come in bursts, as a Gilbert model: a packet that follows a
//! lost one is lost with another probability than the rest. Bursts count packets, not time.
//! Inputs: the fates of packets, in any order; how many of the acknowledged ones the peer only has by repair. Those were lost, and without
//! them protection would make its own reason disappear.
//! Invariants: `pairs <= losses <= packets`, all fading at the same pace; a receiver reports a gap at once (section 4 of the specification).

use crate::number::PacketNumber;

/// Packets after which a fate weighs a third of a new one. One loss among so many is less than is acted upon, two are more.
const WINDOW: f64 = 1_500.0;
/// Packets without loss that are assumed before the first: one loss among the first 50 packets says 1.4 %.
const PRIOR: f64 = 20.0;
/// Fates that are remembered.
const RECENT: usize = 128;
/// Packets without a known fate (they asked for no acknowledgement) that may lie inside a burst.
const UNKNOWN: u64 = 2;

#[derive(Debug)]
pub(super) struct LossEstimate {
    packets: f64,
    losses: f64,
    /// Losses whose predecessor was lost too.
    pairs: f64,
    /// By the low bits of the number: twice the number, plus one when it was lost.
    recent: [u32; RECENT],
    /// The largest number with a known fate.
    largest: PacketNumber,
    /// Repaired packets that have not been found among the acknowledged ones.
    repaired: u64,
}

impl LossEstimate {
    pub(super) fn new() -> Self {
        Self {
            packets: 0.0,
            losses: 0.0,
            pairs: 0.0,
            recent: [0; RECENT],
            largest: PacketNumber::ZERO,
            repaired: 0,
        }
    }

    /// The next fates include that many packets which were acknowledged because they were repaired.
    pub(super) fn on_repaired(&mut self, count: u64) {
        // Those that could not be told from others count, but say nothing about bursts.
        self.losses = (self.losses + self.repaired as f64).min(self.packets);
        self.repaired = count;
    }

    /// That many packets had been taken for lost, but arrived.
    pub(super) fn on_spurious(&mut self, count: u32) {
        let losses = (self.losses - f64::from(count)).max(0.0);
        if self.losses > 0.0 {
            self.pairs *= losses / self.losses;
        }
        self.losses = losses;
    }

    pub(super) fn on_fate(&mut self, number: PacketNumber, mut lost: bool) {
        // The receiver reports a gap at once, so a packet that is acknowledged after a later one was reordered or repaired.
        if !lost && self.repaired > 0 && number < self.largest {
            self.repaired -= 1;
            lost = true;
        }
        self.largest = self.largest.max(number);
        // Between two losses it is one more pair too: they were taken for neighbours.
        let pair = lost && (self.lost_before(number) || self.lost_after(number));
        let fading = 1.0 - 1.0 / WINDOW;
        self.packets = self.packets * fading + 1.0;
        self.losses = self.losses * fading + f64::from(u8::from(lost));
        self.pairs = (self.pairs * fading + f64::from(u8::from(pair))).min(self.losses);
        self.recent[number.0 as usize % RECENT] = entry(number.0, lost);
    }

    /// Fraction of packets lost.
    pub(super) fn rate(&self) -> f64 {
        self.losses / (self.packets + PRIOR)
    }

    /// Mean length of a burst in packets, at least 1.
    pub(super) fn burst(&self) -> f64 {
        // Half a burst of one packet is assumed, for the time before the first.
        (self.losses + 0.5) / (self.losses - self.pairs + 0.5)
    }

    /// The probability that a packet is lost when the one sent `distance` packets before it was.
    pub(super) fn again(&self, distance: f64) -> f64 {
        let rate = self.rate();
        rate + (1.0 - rate) * self.persistence().powf(distance)
    }

    /// The smallest distance after which no more than `rest` of a burst's influence is left.
    pub(super) fn distance(&self, rest: f64) -> f64 {
        let persistence = self.persistence();
        if persistence > 0.0 {
            (rest.ln() / persistence.ln()).max(1.0)
        } else {
            1.0
        }
    }

    /// The second eigenvalue of the Gilbert model, 0..1: how much of a state is left one packet later. 0 for independent losses,
    /// whose bursts have the mean length 1 / (1 - rate).
    fn persistence(&self) -> f64 {
        (1.0 - 1.0 / (self.burst() * (1.0 - self.rate()))).clamp(0.0, 0.98)
    }

    /// Whether the packet before, those of unknown fate left out, was lost.
    fn lost_before(&self, number: PacketNumber) -> bool {
        let before = (1..=UNKNOWN + 1).filter_map(|distance| number.0.checked_sub(distance));
        before
            .map(|before| self.recall(before))
            .find_map(|fate| fate)
            .unwrap_or(false)
    }

    fn lost_after(&self, number: PacketNumber) -> bool {
        self.recall(number.0.wrapping_add(1)).unwrap_or(false)
    }

    fn recall(&self, number: u64) -> Option<bool> {
        let recent = self.recent[number as usize % RECENT];
        (recent | 1 == entry(number, true)).then_some(recent & 1 == 1)
    }
}

fn entry(number: u64, lost: bool) -> u32 {
    (number << 1) as u32 | u32::from(lost)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A deterministic pattern: `burst` losses at the end of every `period` packets.
    fn feed(estimate: &mut LossEstimate, numbers: std::ops::Range<u64>, period: u64, burst: u64) {
        for number in numbers {
            estimate.on_fate(PacketNumber(number), number % period >= period - burst);
        }
    }

    #[test]
    fn rate_and_burst_are_learned() {
        let mut single = LossEstimate::new();
        feed(&mut single, 0..3_000, 100, 1);
        assert!((0.009..0.011).contains(&single.rate()), "{}", single.rate());
        assert!(single.burst() < 1.1 && single.again(1.0) < 0.02);
        let mut bursts = LossEstimate::new();
        feed(&mut bursts, 0..3_000, 200, 4);
        assert!((0.018..0.022).contains(&bursts.rate()), "{}", bursts.rate());
        assert!((3.2..4.1).contains(&bursts.burst()), "{}", bursts.burst());
        assert!(bursts.again(1.0) > 0.6 && bursts.again(20.0) < 0.05);
        assert!((4.0..6.0).contains(&bursts.distance(0.25)));
    }

    #[test]
    fn one_loss_in_fifty_shows_and_fades() {
        let mut estimate = LossEstimate::new();
        feed(&mut estimate, 0..50, 50, 1);
        assert!(estimate.rate() > 0.005, "{}", estimate.rate());
        feed(&mut estimate, 50..5_050, u64::MAX, 0);
        assert!(estimate.rate() < 0.001, "{}", estimate.rate());
        estimate.on_fate(PacketNumber(5_050), true);
        assert!(estimate.rate() < 0.001, "a single one after long: {}", estimate.rate());
        feed(&mut estimate, 5_051..5_250, u64::MAX, 0);
        estimate.on_fate(PacketNumber(5_250), true);
        assert!(
            estimate.rate() > 0.001,
            "the second within seconds: {}",
            estimate.rate()
        );
    }

    /// Acknowledgements come before the declarations of loss around them, and some packets have no fate.
    #[test]
    fn a_burst_is_one_in_whatever_order_it_is_reported() {
        let mut estimate = LossEstimate::new();
        for start in (0..4_000).step_by(200) {
            for number in start + 8..start + 200 {
                estimate.on_fate(PacketNumber(number), false);
            }
            for number in [1, 2, 4, 3, 7] {
                estimate.on_fate(PacketNumber(start + number), true);
            }
        }
        assert!((4.0..5.1).contains(&estimate.burst()), "{}", estimate.burst());
    }

    #[test]
    fn a_repaired_packet_was_lost() {
        let mut estimate = LossEstimate::new();
        for start in (0..3_000).step_by(100) {
            feed(&mut estimate, start + 2..start + 100, u64::MAX, 0);
            estimate.on_repaired(2);
            feed(&mut estimate, start..start + 2, u64::MAX, 0);
        }
        assert!((0.018..0.021).contains(&estimate.rate()), "{}", estimate.rate());
        assert!((1.7..2.1).contains(&estimate.burst()), "{}", estimate.burst());
        // Not to be told which: it counts all the same.
        let losses = estimate.losses;
        estimate.on_repaired(3);
        feed(&mut estimate, 3_000..3_001, u64::MAX, 0);
        estimate.on_repaired(0);
        assert!(estimate.losses > losses + 2.9);
    }

    #[test]
    fn a_spurious_loss_is_taken_back() {
        let mut estimate = LossEstimate::new();
        feed(&mut estimate, 0..100, 100, 10);
        estimate.on_spurious(9);
        assert!((estimate.losses - 1.0).abs() < 0.1 && estimate.pairs <= estimate.losses);
        estimate.on_spurious(9);
        assert!(estimate.rate() == 0.0 && estimate.burst() == 1.0);
    }
}
