//! The receiving side of acknowledgement: which numbers arrived, and when to say so.
//!
//! Owns the set of received numbers of one space. Inputs: packets that opened, packets that were repaired, the peer's FLOOR.
//! Effects: the header's acknowledgement, ACK frames, and when one is due.
//! Invariants: below the acknowledgement everything was received, repaired, or lies below a FLOOR, whatever else was given up.
//! Bounded: 512 ranges; when there are more, the lowest are given up, and what is below is taken for a duplicate: it is never
//! acknowledged, so its sender sends it again.

use std::time::Duration;

use crate::{
    frame::{Ack, Block, MAX_BLOCKS},
    number::PacketNumber,
    ranges::Ranges,
    time::Time,
    types::Ecn,
};

/// `quantum/SPEC.md` section 10.
const MAX_RANGES: usize = 512;
/// Packets that wait for a common acknowledgement, at the start. RFC 9000 section 13.2.2.
const FREQUENCY: u32 = 2;

pub(crate) struct Receipts {
    max_delay: Duration,
    /// After so many packets that ask, one acknowledgement.
    frequency: u32,
    /// Everything below is settled.
    acknowledgement: u64,
    /// Everything below is taken for a duplicate; not below the acknowledgement.
    given_up: u64,
    /// What arrived above the acknowledgement, which itself did not.
    above: Ranges,
    /// One more than the largest number that arrived.
    expected: u64,
    /// The largest that asked, and when it arrived.
    newest: Option<(u64, Time)>,
    /// Packets that asked since the last ACK.
    unreported: u32,
    /// A gap was opened by a packet that did not ask: the next one that does tells of it.
    gap: bool,
    due: Option<Time>,
    repaired: u64,
    /// Packets with ECT(0), ECT(1) and CE, once there was one.
    ecn: Option<[u64; 3]>,
    /// One was marked CE since the header last said so.
    marked: bool,
}

impl Receipts {
    /// `max_delay` is zero in the handshake spaces.
    pub(crate) fn new(max_delay: Duration) -> Self {
        Self {
            max_delay,
            frequency: FREQUENCY,
            acknowledgement: 0,
            given_up: 0,
            above: Ranges::default(),
            expected: 0,
            newest: None,
            unreported: 0,
            gap: false,
            due: None,
            repaired: 0,
            ecn: None,
            marked: false,
        }
    }

    /// Whether the number arrived before, or is too old to tell.
    pub(crate) fn is_duplicate(&self, number: PacketNumber) -> bool {
        number.0 < self.given_up || (number.0 < self.expected && self.above.contains(number.0))
    }

    /// The number that is expected next, to extend short ones.
    pub(crate) fn expected(&self) -> PacketNumber {
        PacketNumber(self.expected)
    }

    /// A packet was opened that is no duplicate. `asks`: it is to be acknowledged; `at_once`: it says so (PSH).
    pub(crate) fn on_packet(&mut self, now: Time, number: PacketNumber, asks: bool, at_once: bool, ecn: Option<Ecn>) {
        if let Some(ecn) = ecn {
            self.ecn.get_or_insert_default()[ecn as usize] += 1;
            self.marked |= ecn == Ecn::Ce;
        }
        let opens = number.0 > self.expected;
        let fills = number.0 < self.expected;
        self.insert(number.0);
        self.gap |= opens;
        // Acknowledgements of acknowledgements would never end. RFC 9000 section 13.2.1.
        if !asks {
            return;
        }
        if self.newest.is_none_or(|(newest, _)| newest < number.0) {
            self.newest = Some((number.0, now));
        }
        self.unreported += 1;
        // A gap that stays open triggers nothing more: on a lossy path there always are some.
        let urgent = at_once || self.gap || fills || ecn == Some(Ecn::Ce) || self.unreported >= self.frequency;
        let due = if urgent { now } else { now + self.max_delay };
        self.due = Some(self.due.map_or(due, |earlier| earlier.min(due)));
    }

    /// A packet was repaired from parity. It is acknowledged at once.
    pub(crate) fn on_repaired(&mut self, now: Time, number: PacketNumber) {
        if self.is_duplicate(number) {
            return;
        }
        self.insert(number.0);
        self.repaired += 1;
        self.unreported += 1;
        self.due = Some(now);
    }

    /// The peer's FLOOR.
    pub(crate) fn on_floor(&mut self, floor: PacketNumber) {
        if floor.0 > self.acknowledgement {
            self.settle_below(floor.0);
        }
    }

    fn insert(&mut self, number: u64) {
        self.expected = self.expected.max(number.saturating_add(1));
        if number == self.acknowledgement {
            self.settle_below(number + 1);
            return;
        }
        self.above.insert(number);
        if self.above.len() > MAX_RANGES
            && let Some((_, last)) = self.lowest()
        {
            self.given_up = self.given_up.max(last + 1);
            self.above.remove_below(last + 1);
        }
    }

    /// Moves the acknowledgement up to `bound`, and past what arrived right above it.
    fn settle_below(&mut self, bound: u64) {
        self.acknowledgement = bound;
        self.above.remove_below(bound);
        if let Some((first, last)) = self.lowest()
            && first == bound
        {
            self.acknowledgement = last + 1;
            self.above.remove_below(last + 1);
        }
        self.given_up = self.given_up.max(self.acknowledgement);
    }

    /// The range next to the acknowledgement.
    fn lowest(&self) -> Option<(u64, u64)> {
        self.above.iter().next()
    }

    /// When an acknowledgement must be sent at the latest; a time in the past: at once.
    pub(crate) fn due(&self) -> Option<Time> {
        self.due
    }

    /// Ranges that are kept: at most [`MAX_RANGES`].
    pub(crate) fn kept(&self) -> (usize, usize) {
        (self.above.len(), MAX_RANGES)
    }

    /// Whether a packet that asks was received that has not been reported in a sent ACK.
    pub(crate) fn has_news(&self) -> bool {
        self.unreported > 0
    }

    /// The header's acknowledgement: `None` before anything arrived.
    pub(crate) fn acknowledgement(&self) -> Option<PacketNumber> {
        (self.expected > 0).then_some(PacketNumber(self.acknowledgement))
    }

    /// The ACK frame for now. The blocks nearest to the largest number; the delay is that of the largest packet that asked.
    pub(crate) fn ack(&self, now: Time) -> Ack {
        let delay = self.newest.map_or(Duration::ZERO, |(_, arrived)| now.since(arrived));
        let block = |(first, last)| Block {
            first: PacketNumber(first),
            last: PacketNumber(last),
        };
        Ack {
            delay_us: u64::try_from(delay.as_micros()).unwrap_or(u64::MAX),
            repaired: self.repaired,
            blocks: self.above.iter().rev().take(MAX_BLOCKS).map(block).collect(),
            ecn: self.ecn,
        }
    }

    /// The frame of [`Self::ack`] was put into a packet that goes out.
    pub(crate) fn on_ack_sent(&mut self) {
        self.unreported = 0;
        self.gap = false;
        self.due = None;
    }

    /// Whether the header of the packet that goes out now says ECE.
    pub(crate) fn take_marked(&mut self) -> bool {
        std::mem::take(&mut self.marked)
    }

    /// Whether a packet is missing below one that arrived.
    pub(crate) fn has_gaps(&self) -> bool {
        self.above.len() > 0
    }

    /// Sets the peer-independent rule: acknowledge every `packets` packets (2 at the start; more in a steady bulk flow).
    pub(crate) fn set_frequency(&mut self, packets: u32) {
        self.frequency = packets.max(1);
    }
}

#[cfg(test)]
mod tests;
