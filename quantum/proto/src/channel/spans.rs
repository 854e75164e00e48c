//! Sets of bytes of a message, for messages of which most are one chunk.

use std::ops::Range;

use smallvec::SmallVec;

/// A set of byte offsets as spans `start..end`: rising, not empty, not touching. Up to two need no allocation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Spans(SmallVec<[(u32, u32); 2]>);

impl Spans {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The lowest span.
    pub(super) fn first(&self) -> Option<Range<u32>> {
        self.0.first().map(|&(start, end)| start..end)
    }

    /// Whether all of it is in the set.
    pub(super) fn covers(&self, range: &Range<u32>) -> bool {
        let at = self.0.partition_point(|span| span.1 < range.end);
        range.is_empty() || self.0.get(at).is_some_and(|span| span.0 <= range.start)
    }

    /// The spans that have a byte in common with the range.
    pub(super) fn overlapping(&self, range: &Range<u32>) -> impl Iterator<Item = Range<u32>> + '_ {
        let from = self.0.partition_point(|span| span.1 <= range.start);
        let to = if range.is_empty() { 0 } else { range.end };
        self.0[from..]
            .iter()
            .take_while(move |span| span.0 < to)
            .map(|&(start, end)| start..end)
    }

    pub(super) fn insert(&mut self, range: Range<u32>) {
        if range.is_empty() {
            return;
        }
        let from = self.0.partition_point(|span| span.1 < range.start);
        let to = self.0.partition_point(|span| span.0 <= range.end);
        if from == to {
            self.0.insert(from, (range.start, range.end));
            return;
        }
        let merged = (range.start.min(self.0[from].0), range.end.max(self.0[to - 1].1));
        self.0[from] = merged;
        self.0.drain(from + 1..to);
    }

    pub(super) fn remove(&mut self, range: &Range<u32>) {
        if range.is_empty() {
            return;
        }
        let from = self.0.partition_point(|span| span.1 <= range.start);
        let to = self.0.partition_point(|span| span.0 < range.end);
        if from == to {
            return;
        }
        let (left, right) = ((self.0[from].0, range.start), (range.end, self.0[to - 1].1));
        self.0.drain(from..to);
        if right.0 < right.1 {
            self.0.insert(from, right);
        }
        if left.0 < left.1 {
            self.0.insert(from, left);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against the plainest set there is.
        #[test]
        fn is_a_set(steps in prop::collection::vec((any::<bool>(), 0u32..60, 0u32..20), 0..60), probe in (0u32..60, 0u32..20)) {
            let mut spans = Spans::default();
            let mut model = BTreeSet::new();
            for (insert, start, len) in steps {
                let range = start..start + len;
                if insert {
                    model.extend(range.clone());
                    spans.insert(range);
                } else {
                    model.retain(|byte| !range.contains(byte));
                    spans.remove(&range);
                }
                prop_assert!(spans.0.iter().all(|span| span.0 < span.1));
                prop_assert!(spans.0.windows(2).all(|pair| pair[0].1 < pair[1].0));
                prop_assert_eq!(spans.0.iter().flat_map(|span| span.0..span.1).collect::<BTreeSet<_>>(), model.clone());
                prop_assert_eq!(spans.is_empty(), model.is_empty());
                prop_assert_eq!(spans.first().map(|span| span.start), model.first().copied());
            }
            let probe = probe.0..probe.0 + probe.1;
            prop_assert_eq!(spans.covers(&probe), probe.clone().all(|byte| model.contains(&byte)));
            let overlapping: Vec<_> = spans.overlapping(&probe).collect();
            let expected: Vec<_> = spans.0.iter().map(|span| span.0..span.1)
                .filter(|span| span.clone().any(|byte| probe.contains(&byte))).collect();
            prop_assert_eq!(overlapping, expected);
        }
    }
}
