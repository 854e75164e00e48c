//! Numbers that were left out on purpose: a peer that acknowledges one of them lies. `quantum/SPEC.md` section 4.
//!
//! Bounded: 64 ranges; beyond that the oldest is no longer checked.

use std::collections::VecDeque;

const MAX_RANGES: usize = 64;

#[derive(Default)]
pub(super) struct Skipped {
    /// First and last, rising.
    ranges: VecDeque<(u64, u64)>,
}

impl Skipped {
    /// Above all before it.
    pub(super) fn push(&mut self, first: u64, last: u64) {
        if self.ranges.len() == MAX_RANGES {
            self.ranges.pop_front();
        }
        self.ranges.push_back((first, last));
    }

    /// Whether one of `first..=last` was left out.
    pub(super) fn meets(&self, first: u64, last: u64) -> bool {
        let at = self.ranges.partition_point(|range| range.1 < first);
        self.ranges.get(at).is_some_and(|range| range.0 <= last)
    }

    /// The peer was told not to wait for what is below: it may call that settled.
    pub(super) fn forget_below(&mut self, floor: u64) {
        while self.ranges.front().is_some_and(|range| range.1 < floor) {
            self.ranges.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_overlap_is_seen() {
        let mut skipped = Skipped::default();
        skipped.push(10, 12);
        skipped.push(20, 20);
        let cases = [
            ((0, 9), false),
            ((0, 10), true),
            ((12, 15), true),
            ((13, 19), false),
            ((13, 25), true),
            ((20, 20), true),
            ((21, 99), false),
        ];
        for ((first, last), expected) in cases {
            assert_eq!(skipped.meets(first, last), expected, "{first}..={last}");
        }
        skipped.forget_below(12);
        assert!(skipped.meets(12, 12));
        skipped.forget_below(13);
        assert!(!skipped.meets(0, 19) && skipped.meets(0, 20));
    }

    #[test]
    fn bounded() {
        let mut skipped = Skipped::default();
        (0..1_000).for_each(|n| skipped.push(n * 2, n * 2));
        assert_eq!(skipped.ranges.len(), MAX_RANGES);
        assert!(skipped.meets(1_998, 1_998));
    }
}
