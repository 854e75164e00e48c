//! Sets of numbers, kept as ranges.

use std::ops::RangeInclusive;

/// A set of `u64`, stored as sorted disjoint ranges that do not touch. Optimised for growth at the upper end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ranges {
    /// Rising.
    _ranges: std::collections::VecDeque<(u64, u64)>,
}

impl Ranges {
    /// Adds one number; `false` when it was there.
    pub(crate) fn insert(&mut self, _number: u64) -> bool {
        todo!()
    }

    /// Adds `first..=last`.
    pub(crate) fn insert_range(&mut self, _range: RangeInclusive<u64>) {
        todo!()
    }

    /// Takes away everything below `bound`.
    pub(crate) fn remove_below(&mut self, _bound: u64) {
        todo!()
    }

    pub(crate) fn contains(&self, _number: u64) -> bool {
        todo!()
    }

    /// How many ranges.
    pub(crate) fn len(&self) -> usize {
        todo!()
    }

    /// The largest number.
    pub(crate) fn max(&self) -> Option<u64> {
        todo!()
    }

    /// The ranges, rising.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (u64, u64)> + '_ {
        self._ranges.iter().copied()
    }
}
