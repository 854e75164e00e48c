//! Sets of numbers, kept as ranges.
//!
//! Owns nothing else. Invariant: the ranges rise, are not empty, do not overlap and do not touch. Not bounded by itself: an owner that
//! stores what a peer chooses looks at [`Ranges::len`] and gives up the lowest with [`Ranges::remove_below`].

use std::{collections::VecDeque, ops::RangeInclusive};

/// A set of `u64`, stored as sorted disjoint ranges that do not touch. Optimised for growth at the upper end: that takes
/// constant time; anywhere else it is a binary search and the shift of the shorter side.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ranges {
    /// First and last number of each, rising.
    ranges: VecDeque<(u64, u64)>,
}

impl Ranges {
    /// Adds one number; `false` when it was there.
    pub(crate) fn insert(&mut self, number: u64) -> bool {
        if self.max().is_some_and(|max| number <= max) && self.contains(number) {
            return false;
        }
        self.insert_range(number..=number);
        true
    }

    /// Adds `first..=last`.
    pub(crate) fn insert_range(&mut self, range: RangeInclusive<u64>) {
        if range.is_empty() {
            return;
        }
        let (first, last) = range.into_inner();
        match self.ranges.back_mut() {
            Some(top) if first > top.1 && first - top.1 == 1 => top.1 = last,
            Some(top) if first <= top.1 => self.merge(first, last),
            _ => self.ranges.push_back((first, last)),
        }
    }

    /// Adds `first..=last` where it may meet several ranges.
    fn merge(&mut self, first: u64, last: u64) {
        // Those that overlap or touch stand side by side.
        let from = self.ranges.partition_point(|range| range.1 < first.saturating_sub(1));
        let to = self.ranges.partition_point(|range| range.0 <= last.saturating_add(1));
        if from == to {
            self.ranges.insert(from, (first, last));
            return;
        }
        let merged = (first.min(self.ranges[from].0), last.max(self.ranges[to - 1].1));
        self.ranges[from] = merged;
        self.ranges.drain(from + 1..to);
    }

    /// Takes away everything below `bound`.
    pub(crate) fn remove_below(&mut self, bound: u64) {
        while let Some(lowest) = self.ranges.front_mut() {
            if lowest.1 >= bound {
                lowest.0 = lowest.0.max(bound);
                return;
            }
            self.ranges.pop_front();
        }
    }

    pub(crate) fn contains(&self, number: u64) -> bool {
        let at = self.ranges.partition_point(|range| range.1 < number);
        self.ranges.get(at).is_some_and(|range| range.0 <= number)
    }

    /// How many ranges.
    pub(crate) fn len(&self) -> usize {
        self.ranges.len()
    }

    /// The largest number.
    pub(crate) fn max(&self) -> Option<u64> {
        self.ranges.back().map(|range| range.1)
    }

    /// The ranges, rising.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (u64, u64)> + '_ {
        self.ranges.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// The ranges that hold exactly these numbers.
    fn ranges_of(set: &BTreeSet<u64>) -> Vec<(u64, u64)> {
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for &number in set {
            match ranges.last_mut() {
                Some(top) if top.1 + 1 == number => top.1 = number,
                _ => ranges.push((number, number)),
            }
        }
        ranges
    }

    #[test]
    fn ends_of_the_number_line() {
        let mut ranges = Ranges::default();
        assert!(ranges.insert(u64::MAX));
        assert!(!ranges.insert(u64::MAX));
        assert!(ranges.insert(0));
        assert!(ranges.insert(u64::MAX - 1));
        assert_eq!(ranges.iter().collect::<Vec<_>>(), [(0, 0), (u64::MAX - 1, u64::MAX)]);
        ranges.insert_range(0..=u64::MAX);
        assert_eq!(ranges.iter().collect::<Vec<_>>(), [(0, u64::MAX)]);
        ranges.remove_below(u64::MAX);
        assert_eq!(ranges.iter().collect::<Vec<_>>(), [(u64::MAX, u64::MAX)]);
    }

    #[test]
    fn an_empty_range_adds_nothing() {
        let mut ranges = Ranges::default();
        #[expect(clippy::reversed_empty_ranges)]
        ranges.insert_range(5..=4);
        assert_eq!((ranges.len(), ranges.max()), (0, None));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u64),
        Range(u64, u64),
        RemoveBelow(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0..80u64).prop_map(Step::Insert),
            3 => (0..80u64, 0..12u64).prop_map(|(first, more)| Step::Range(first, first + more)),
            1 => (0..60u64).prop_map(Step::RemoveBelow),
        ]
    }

    proptest! {
        #[test]
        fn agrees_with_a_plain_set(steps in prop::collection::vec(step(), 0..60)) {
            let (mut ranges, mut set) = (Ranges::default(), BTreeSet::new());
            for step in steps {
                match step {
                    Step::Insert(number) => prop_assert_eq!(ranges.insert(number), set.insert(number)),
                    Step::Range(first, last) => {
                        ranges.insert_range(first..=last);
                        set.extend(first..=last);
                    }
                    Step::RemoveBelow(bound) => {
                        ranges.remove_below(bound);
                        set = set.split_off(&bound);
                    }
                }
                prop_assert_eq!(ranges.iter().collect::<Vec<_>>(), ranges_of(&set));
                prop_assert_eq!(ranges.len(), ranges_of(&set).len());
                prop_assert_eq!(ranges.max(), set.last().copied());
            }
            for number in 0..100 {
                prop_assert_eq!(ranges.contains(number), set.contains(&number));
            }
        }
    }
}
