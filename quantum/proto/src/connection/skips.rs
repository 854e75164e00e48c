//! Which packet numbers are left out, so that a peer that acknowledges what it never got is found out. RFC 9000 section 21.4.
//!
//! Ever more rarely, for each looks like a loss to the receiver, which then acknowledges more often for a while: the distance
//! doubles, and where in it the number lies is random. A peer that runs ahead of what it got by as much as the connection has sent is
//! found out nearly for certain, however long it lasts.

use rand::{Rng, rngs::StdRng};

use crate::{connection::Connection, number::PacketNumber, types::Space};

/// The first number that is left out lies below this.
const FIRST: u64 = 256;

/// See the module.
#[derive(Debug)]
pub(super) struct Skips {
    /// The next number to leave out, or the next one that comes after it.
    at: u64,
    /// The next one lies within this distance of it.
    distance: u64,
}

impl Skips {
    pub(super) fn new(rng: &mut StdRng) -> Self {
        Self {
            at: rng.random_range(0..FIRST),
            distance: FIRST,
        }
    }

    /// Whether this number, the next to be used, is to be left out.
    pub(super) fn takes(&mut self, next: PacketNumber, rng: &mut StdRng) -> bool {
        if next.0 < self.at {
            return false;
        }
        self.distance = self.distance.saturating_mul(2);
        let distance = rng.random_range(self.distance / 4..self.distance);
        self.at = next.0.saturating_add(1).saturating_add(distance);
        true
    }
}

impl Connection {
    /// Now and then a number is left out, so that a peer which acknowledges what it never got is found out.
    pub(super) fn next_application_number(&mut self) -> PacketNumber {
        let next = self.recovery.next_number(Space::Application);
        if self.skips.takes(next, &mut self.rng) {
            self.recovery.skip(Space::Application, next.next());
        }
        self.recovery.next_number(Space::Application)
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    /// The numbers below a million that are left out.
    fn skipped(seed: u64) -> Vec<u64> {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut skips = Skips::new(&mut rng);
        (0..1_000_000)
            .filter(|number| skips.takes(PacketNumber(*number), &mut rng))
            .collect()
    }

    #[test]
    fn ever_fewer_and_nobody_knows_which() {
        let all: Vec<Vec<u64>> = (0..200).map(skipped).collect();
        for skipped in &all {
            assert!((10..=16).contains(&skipped.len()), "{skipped:?}");
            assert!(skipped[0] < FIRST);
            let distances: Vec<u64> = skipped.windows(2).map(|pair| pair[1] - pair[0]).collect();
            assert!(distances.windows(4).all(|some| some[3] > some[0]), "{distances:?}");
        }
        let mut first: Vec<u64> = all.iter().map(|skipped| skipped[0]).collect();
        first.sort_unstable();
        first.dedup();
        assert!(first.len() > 80, "{first:?}");
    }

    #[test]
    fn who_acknowledges_twice_what_was_sent_meets_one() {
        let met = |skipped: &Vec<u64>, from: u64| skipped.iter().any(|number| (from..3 * from).contains(number));
        let all: Vec<Vec<u64>> = (0..200).map(skipped).collect();
        for from in [200, 1_000, 10_000, 100_000, 300_000] {
            let caught = all.iter().filter(|skipped| met(skipped, from)).count();
            assert!(caught >= 160, "{caught} of 200 from {from}");
        }
    }
}
