//! The packets of a number space that may still be acknowledged.
//!
//! Owns a record of each packet that asks for an acknowledgement, in the order of numbers, until it is settled: acknowledged, or
//! lost and forgotten. Others have no record, as nothing depends on their fate.
//! Invariants: numbers rise from slot to slot; what is in flight lies behind everything lost,
//! because send times rise with the numbers; count and bytes are those of the slots in flight.
//!
//! A slot is found by its **position**, a count of records since the beginning. A settled slot knows a later position with
//! nothing but settled slots between (a disjoint-set forest with path compression), so a block that was acknowledged before is
//! stepped over at once: an acknowledgement costs what it newly settles, however much is in flight.

use std::{collections::VecDeque, mem, ops::RangeInclusive};

use super::SentPacket;
use crate::{number::PacketNumber, time::Time};

enum Slot {
    InFlight(SentPacket),
    /// Declared lost; remembered in case it is acknowledged after all.
    Lost {
        packet: SentPacket,
        forget_at: Time,
    },
    Settled {
        number: PacketNumber,
        next: u64,
    },
}

impl Slot {
    fn number(&self) -> PacketNumber {
        match self {
            Self::InFlight(packet) | Self::Lost { packet, .. } => packet.number,
            Self::Settled { number, .. } => *number,
        }
    }
}

#[derive(Default)]
pub(super) struct Sent {
    slots: VecDeque<Slot>,
    /// Position of the first slot.
    base: u64,
    /// Everything lost is before this position, everything in flight is not.
    undecided: u64,
    in_flight: usize,
    bytes: u64,
    /// Those of interactive packets among them.
    interactive: u64,
    /// Those that only protect what other packets hold.
    copies: u64,
}

impl Sent {
    /// Packets in flight.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Bytes in flight.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes of interactive packets in flight.
    pub(super) fn interactive(&self) -> u64 {
        self.interactive
    }

    /// Bytes in flight that only protect what other packets hold.
    pub(super) fn copies(&self) -> u64 {
        self.copies
    }

    fn add(&mut self, packet: &SentPacket) {
        self.in_flight += 1;
        self.bytes += u64::from(packet.size);
        self.interactive += interactive(packet);
        self.copies += u64::from(packet.copies);
    }

    fn subtract(&mut self, packet: &SentPacket) {
        self.in_flight -= 1;
        self.bytes -= u64::from(packet.size);
        self.interactive -= interactive(packet);
        self.copies -= u64::from(packet.copies);
    }

    /// The smallest number that may still be acknowledged, as of the last [`Self::forget`].
    pub(super) fn first(&self) -> Option<PacketNumber> {
        self.slots.front().map(Slot::number)
    }

    /// The packet's number is above all before it.
    pub(super) fn push(&mut self, packet: SentPacket) {
        self.add(&packet);
        self.slots.push_back(Slot::InFlight(packet));
    }

    /// Settles what these numbers have left open; `each` gets the packets, rising, and whether they had been declared lost.
    pub(super) fn acknowledge(&mut self, numbers: RangeInclusive<u64>, mut each: impl FnMut(SentPacket, bool)) {
        let mut position = self.next_open(self.position_of(*numbers.start()));
        while let Some(slot) = self.slot_mut(position) {
            let number = slot.number();
            if number.0 > *numbers.end() {
                break;
            }
            match mem::replace(
                slot,
                Slot::Settled {
                    number,
                    next: position + 1,
                },
            ) {
                Slot::InFlight(packet) => {
                    self.subtract(&packet);
                    each(packet, false);
                }
                Slot::Lost { packet, .. } => each(packet, true),
                Slot::Settled { .. } => panic!("a settled slot was taken for an open one"),
            }
            position = self.next_open(position + 1);
        }
    }

    /// The packet in flight that was sent first.
    pub(super) fn oldest(&mut self) -> Option<&SentPacket> {
        self.undecided = self.next_open(self.undecided);
        match self.slots.get(self.index(self.undecided)) {
            Some(Slot::InFlight(packet)) => Some(packet),
            Some(_) => panic!("lost packets lie before those in flight"),
            None => None,
        }
    }

    /// Declares [`Self::oldest`] lost; it is remembered until `forget_at`.
    pub(super) fn lose_oldest(&mut self, forget_at: Time) -> Option<SentPacket> {
        let packet = self.oldest()?.clone();
        self.subtract(&packet);
        let index = self.index(self.undecided);
        self.slots[index] = Slot::Lost {
            packet: packet.clone(),
            forget_at,
        };
        self.undecided += 1;
        Some(packet)
    }

    /// Those in flight, in the order of their numbers.
    pub(super) fn iter_in_flight(&self) -> impl Iterator<Item = &SentPacket> {
        self.slots
            .range(self.index(self.undecided).min(self.slots.len())..)
            .filter_map(|slot| match slot {
                Slot::InFlight(packet) => Some(packet),
                _ => None,
            })
    }

    /// Takes everything in flight out, as if it had never been sent.
    pub(super) fn take_in_flight(&mut self) -> Vec<SentPacket> {
        let mut taken = Vec::with_capacity(self.in_flight);
        let end = self.base + self.slots.len() as u64;
        let from = self.undecided.max(self.base);
        for position in from..end {
            let index = self.index(position);
            let number = self.slots[index].number();
            match mem::replace(
                &mut self.slots[index],
                Slot::Settled {
                    number,
                    next: position + 1,
                },
            ) {
                Slot::InFlight(packet) => taken.push(packet),
                settled => self.slots[index] = settled,
            }
        }
        self.in_flight = 0;
        self.bytes = 0;
        self.interactive = 0;
        self.copies = 0;
        // Only what is settled.
        self.forget(Time::ZERO);
        taken
    }

    /// Lets go of what no longer matters at the lower end.
    pub(super) fn forget(&mut self, now: Time) {
        while let Some(slot) = self.slots.front() {
            match slot {
                Slot::InFlight(_) => break,
                Slot::Lost { forget_at, .. } if *forget_at > now => break,
                Slot::Lost { .. } | Slot::Settled { .. } => {
                    self.slots.pop_front();
                    self.base += 1;
                }
            }
        }
    }

    /// Index of a position that is not before the first slot.
    fn index(&self, position: u64) -> usize {
        usize::try_from(position.saturating_sub(self.base)).unwrap_or(usize::MAX)
    }

    fn slot_mut(&mut self, position: u64) -> Option<&mut Slot> {
        let index = self.index(position);
        self.slots.get_mut(index)
    }

    /// The first position from this one on whose slot is not settled; the end when there is none.
    fn next_open(&mut self, from: u64) -> u64 {
        let from = from.max(self.base);
        let mut open = from;
        while let Some(Slot::Settled { next, .. }) = self.slots.get(self.index(open)) {
            open = *next;
        }
        let mut step = from;
        while let Some(Slot::Settled { next, .. }) = self.slot_mut(step) {
            step = mem::replace(next, open);
        }
        open
    }

    /// The first position whose number is not below this one; the end when there is none.
    fn position_of(&self, number: u64) -> u64 {
        let (Some(first), Some(last)) = (self.slots.front(), self.slots.back()) else {
            return self.base;
        };
        let (first, last, len) = (first.number().0, last.number().0, self.slots.len());
        if number <= first {
            return self.base;
        }
        if number > last {
            return self.base + len as u64;
        }
        // Numbers rise by at least one from slot to slot, which leaves as much room to search in as numbers are missing:
        // none in a flow of nothing but data.
        let mut low = (len - 1).saturating_sub(usize::try_from(last - number).unwrap_or(usize::MAX));
        let mut high = (len - 1).min(usize::try_from(number - first).unwrap_or(usize::MAX));
        while low < high {
            let middle = low.midpoint(high);
            if self.slots[middle].number().0 < number {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        self.base + low as u64
    }
}

fn interactive(packet: &SentPacket) -> u64 {
    if packet.interactive { u64::from(packet.size) } else { 0 }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::{super::tests::packet, *};

    #[derive(Clone, Debug)]
    enum Step {
        /// Leaves that many numbers out before it.
        Push(u64),
        Acknowledge(u64, u64),
        Lose,
        Forget,
        Take,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            8 => prop_oneof![8 => Just(0), 2 => 1..4u64, 1 => 100..2_000u64].prop_map(Step::Push),
            6 => (0..40u64, 0..9u64).prop_map(|(from, more)| Step::Acknowledge(from, more)),
            3 => Just(Step::Lose),
            1 => Just(Step::Forget),
            1 => Just(Step::Take),
        ]
    }

    /// Some are interactive, and hold more or fewer copies.
    fn pushed(number: u64, sent_at: u64) -> SentPacket {
        SentPacket {
            interactive: number.is_multiple_of(3),
            copies: (number % 5 * 100) as u16,
            ..packet(number, sent_at)
        }
    }

    proptest! {
        /// Against a plain map from numbers to "was it declared lost".
        #[test]
        fn agrees_with_a_plain_map(steps in prop::collection::vec(step(), 0..200)) {
            let (mut sent, mut model) = (Sent::default(), BTreeMap::<u64, bool>::new());
            let (mut next, mut clock) = (0, 0);
            for step in steps {
                clock += 1;
                match step {
                    Step::Push(skip) => {
                        next += skip;
                        sent.push(pushed(next, clock));
                        model.insert(next, false);
                        next += 1;
                    }
                    Step::Acknowledge(from, more) => {
                        // Counted from the upper end, where the records are.
                        let range = next.saturating_sub(from)..=next.saturating_sub(from) + more;
                        let mut got = Vec::new();
                        sent.acknowledge(range.clone(), |packet, lost| got.push((packet.number.0, lost)));
                        let expected: Vec<_> = model.range(range).map(|(&number, &lost)| (number, lost)).collect();
                        model.retain(|number, _| !expected.iter().any(|(gone, _)| gone == number));
                        prop_assert_eq!(got, expected);
                    }
                    Step::Lose => {
                        let oldest = model.iter_mut().find(|(_, lost)| !**lost);
                        let lost = sent.lose_oldest(Time::from_nanos(clock + 50)).map(|packet| packet.number.0);
                        prop_assert_eq!(lost, oldest.as_ref().map(|(number, _)| **number));
                        oldest.into_iter().for_each(|(_, lost)| *lost = true);
                    }
                    Step::Forget => {
                        // Nothing is due yet: only what is settled goes.
                        sent.forget(Time::from_nanos(0));
                        prop_assert_eq!(sent.first().map(|number| number.0), model.keys().next().copied());
                    }
                    Step::Take => {
                        let taken: Vec<_> = sent.take_in_flight().iter().map(|packet| packet.number.0).collect();
                        let expected: Vec<_> = model.iter().filter(|(_, lost)| !**lost).map(|(&number, _)| number).collect();
                        model.retain(|_, lost| *lost);
                        prop_assert_eq!(taken, expected);
                    }
                }
                let in_flight: Vec<_> = model.iter().filter(|(_, lost)| !**lost).map(|(&number, _)| number).collect();
                prop_assert_eq!(sent.in_flight(), in_flight.len());
                prop_assert_eq!(sent.bytes(), in_flight.len() as u64 * u64::from(packet(0, 0).size));
                let held: Vec<_> = in_flight.iter().map(|&number| pushed(number, 0)).collect();
                let copies = held.iter().map(|packet| u64::from(packet.copies)).sum::<u64>();
                prop_assert_eq!((sent.interactive(), sent.copies()), (held.iter().map(interactive).sum(), copies));
                prop_assert_eq!(sent.oldest().map(|packet| packet.number.0), in_flight.first().copied());
                prop_assert_eq!(sent.iter_in_flight().map(|packet| packet.number.0).collect::<Vec<_>>(), in_flight);
            }
            sent.forget(Time::from_nanos(u64::MAX));
            prop_assert_eq!(sent.first(), sent.oldest().map(|packet| packet.number));
        }
    }

    #[test]
    fn the_lost_are_forgotten_in_turn() {
        let mut sent = Sent::default();
        (0..4).for_each(|number| sent.push(packet(number, number)));
        sent.lose_oldest(Time::from_nanos(10));
        sent.lose_oldest(Time::from_nanos(20));
        sent.acknowledge(2..=2, |_, _| ());
        for (now, first) in [(9, 0), (10, 1), (19, 1), (20, 3), (1_000, 3)] {
            sent.forget(Time::from_nanos(now));
            assert_eq!(sent.first(), Some(PacketNumber(first)), "at {now}");
        }
    }
}
