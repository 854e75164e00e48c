//! Handshake bytes of one level on their way out: kept until they are acknowledged.
//!
//! Owns the bytes that TLS wrote. Invariant: every byte is acknowledged, under way, or offered by [`Outgoing::next`];
//! what was lost is offered first.

use std::ops::Range;

use bytes::{Buf, Bytes};

use crate::ranges::Ranges;

/// The sending side of a level's byte stream. Offsets count from the stream's first byte.
#[derive(Default)]
pub(super) struct Outgoing {
    /// Everything before it is acknowledged.
    base: u64,
    /// The bytes from `base` on. A flight is written at once, so that a level has one or two.
    kept: Bytes,
    /// The first byte that was never sent.
    fresh: u64,
    /// At or above `base`.
    acked: Ranges,
    /// To be sent again, unless acknowledged meanwhile.
    lost: Ranges,
}

impl Outgoing {
    /// TLS wrote these bytes.
    pub(super) fn push(&mut self, bytes: Vec<u8>) {
        self.kept = if self.kept.is_empty() {
            bytes.into()
        } else {
            [&self.kept[..], &bytes].concat().into()
        };
    }

    /// The next bytes to send and where they stand, at most `budget` of them.
    pub(super) fn next(&mut self, budget: usize) -> Option<(u64, Bytes)> {
        let Range { start, end } = self.pick().filter(|_| budget > 0)?;
        let end = end.min(start.saturating_add(budget as u64));
        if start < self.fresh {
            self.lost.remove_below(end);
        } else {
            self.fresh = end;
        }
        Some((
            start,
            self.kept
                .slice((start - self.base) as usize..(end - self.base) as usize),
        ))
    }

    pub(super) fn wants_to_send(&self) -> bool {
        self.pick().is_some()
    }

    /// What is to be sent next: lost bytes that were not acknowledged, the lowest first, then fresh ones.
    fn pick(&self) -> Option<Range<u64>> {
        for (first, last) in self.lost.iter() {
            let mut at = first;
            for (_, acked_last) in self.acked.iter().take_while(|(acked_first, _)| *acked_first <= first) {
                at = at.max(acked_last + 1);
            }
            if at <= last {
                let acked = self
                    .acked
                    .iter()
                    .map(|(acked_first, _)| acked_first)
                    .find(|acked_first| *acked_first > at);
                return Some(at..acked.map_or(last + 1, |acked_first| acked_first.min(last + 1)));
            }
        }
        let end = self.base + self.kept.len() as u64;
        (self.fresh < end).then_some(self.fresh..end)
    }

    /// The peer has `range`.
    pub(super) fn on_acked(&mut self, range: Range<u64>) {
        let Some(range) = self.sent(range) else { return };
        self.acked.insert_range(range.start..=range.end - 1);
        let whole = self.acked.iter().next().filter(|(first, _)| *first == self.base);
        if let Some((_, last)) = whole {
            self.kept.advance((last + 1 - self.base) as usize);
            self.base = last + 1;
            self.acked.remove_below(self.base);
            self.lost.remove_below(self.base);
        }
    }

    /// A packet with `range` was lost.
    pub(super) fn on_lost(&mut self, range: Range<u64>) {
        if let Some(range) = self.sent(range) {
            self.lost.insert_range(range.start..=range.end - 1);
        }
    }

    /// What was sent and is not acknowledged is to be sent once more.
    pub(super) fn repeat(&mut self) {
        self.on_lost(self.base..self.fresh);
    }

    /// The part of `range` that was sent and is still kept.
    fn sent(&self, range: Range<u64>) -> Option<Range<u64>> {
        let range = range.start.max(self.base)..range.end.min(self.fresh);
        (!range.is_empty()).then_some(range)
    }

    /// Everything that was not acknowledged is to be sent anew.
    pub(super) fn restart(&mut self) {
        self.fresh = self.base;
        self.acked = Ranges::default();
        self.lost = Ranges::default();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn outgoing(bytes: &[u8]) -> Outgoing {
        let mut outgoing = Outgoing::default();
        outgoing.push(bytes.to_vec());
        outgoing
    }

    fn next(outgoing: &mut Outgoing, budget: usize) -> Option<(u64, Vec<u8>)> {
        outgoing.next(budget).map(|(offset, bytes)| (offset, bytes.to_vec()))
    }

    #[test]
    fn what_was_lost_goes_first() {
        let mut outgoing = outgoing(b"abcdefgh");
        assert_eq!(next(&mut outgoing, 3), Some((0, b"abc".to_vec())));
        assert_eq!(next(&mut outgoing, 3), Some((3, b"def".to_vec())));
        outgoing.on_lost(0..3);
        assert_eq!(next(&mut outgoing, 2), Some((0, b"ab".to_vec())));
        assert_eq!(next(&mut outgoing, 9), Some((2, b"c".to_vec())));
        assert_eq!(next(&mut outgoing, 9), Some((6, b"gh".to_vec())));
        assert_eq!(next(&mut outgoing, 9), None);
        outgoing.push(b"ij".to_vec());
        assert_eq!(next(&mut outgoing, 0), None);
        assert!(outgoing.wants_to_send());
        assert_eq!(next(&mut outgoing, 9), Some((8, b"ij".to_vec())));
    }

    #[test]
    fn what_was_acknowledged_is_not_sent_again() {
        let mut outgoing = outgoing(b"abcdefgh");
        while outgoing.next(2).is_some() {}
        outgoing.on_acked(2..4);
        outgoing.on_lost(0..8);
        outgoing.on_acked(6..7);
        assert_eq!(next(&mut outgoing, 9), Some((0, b"ab".to_vec())));
        assert_eq!(next(&mut outgoing, 9), Some((4, b"ef".to_vec())));
        assert_eq!(next(&mut outgoing, 9), Some((7, b"h".to_vec())));
        assert!(!outgoing.wants_to_send());
        outgoing.on_acked(0..8);
        assert!(outgoing.kept.is_empty());
        outgoing.on_lost(0..8);
        assert!(!outgoing.wants_to_send(), "it is acknowledged");
    }

    #[test]
    fn a_restart_sends_everything() {
        let mut outgoing = outgoing(b"abcd");
        outgoing.next(3);
        outgoing.on_lost(1..2);
        outgoing.restart();
        assert_eq!(next(&mut outgoing, 9), Some((0, b"abcd".to_vec())));
        assert!(!outgoing.wants_to_send());
    }

    proptest! {
        /// Whatever becomes of the packets: as long as bytes lack an acknowledgement and none is under way, some are
        /// offered; they are the right ones; and none are kept in the end.
        #[test]
        fn every_byte_gets_there(fates in prop::collection::vec((1_usize..40, 0_u8..4), 0..100)) {
            let stream: Vec<u8> = (0..600).map(|at| (at % 251) as u8).collect();
            let mut outgoing = outgoing(&stream[..400]);
            let mut under_way = Vec::new();
            for (budget, fate) in fates {
                if let Some((offset, bytes)) = outgoing.next(budget) {
                    let range = offset..offset + bytes.len() as u64;
                    prop_assert_eq!(&bytes[..], &stream[range.start as usize..range.end as usize]);
                    match fate {
                        0 => outgoing.on_acked(range),
                        1 => outgoing.on_lost(range),
                        2 => {
                            outgoing.on_lost(range.clone());
                            outgoing.on_acked(range);
                        }
                        _ => under_way.push(range),
                    }
                }
            }
            outgoing.push(stream[400..].to_vec());
            under_way.into_iter().for_each(|range| outgoing.on_lost(range));
            while let Some((offset, bytes)) = outgoing.next(97) {
                prop_assert_eq!(&bytes[..], &stream[offset as usize..][..bytes.len()]);
                outgoing.on_acked(offset..offset + bytes.len() as u64);
            }
            prop_assert_eq!(outgoing.base, 600);
            prop_assert!(outgoing.kept.is_empty());
        }
    }
}
