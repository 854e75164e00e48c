//! Receipts, in virtual time.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

type Numbers = &'static [u64];
type Blocks = &'static [(u64, u64)];

const DELAY: Duration = Duration::from_millis(5);

const fn at(millis: u64) -> Time {
    Time::from_nanos(millis * 1_000_000)
}

const fn n(number: u64) -> PacketNumber {
    PacketNumber(number)
}

/// After these packets, all of which ask, and an ACK that told of them.
fn after(numbers: &[u64]) -> Receipts {
    let mut receipts = Receipts::new(DELAY);
    numbers
        .iter()
        .for_each(|&number| receipts.on_packet(at(0), n(number), true, false, None));
    receipts.on_ack_sent();
    receipts
}

fn blocks(receipts: &Receipts) -> Vec<(u64, u64)> {
    receipts
        .ack(at(0))
        .blocks
        .iter()
        .map(|block| (block.first.0, block.last.0))
        .collect()
}

/// Packets that ask, and what they make due 10 ms after the beginning (when all arrive).
#[test]
fn when_an_acknowledgement_is_due() {
    let now = Some(at(10));
    let later = Some(at(15));
    let cases: &[(&str, Numbers, Numbers, Option<Time>)] = &[
        ("one waits", &[0, 1], &[2], later),
        ("two do not", &[0, 1], &[2, 3], now),
        ("the first of all", &[], &[0], later),
        ("opens a gap", &[0, 1], &[3], now),
        ("opens a gap at the beginning", &[], &[1], now),
        ("a gap stays open", &[0, 2], &[3], later),
        ("opens a second gap", &[0, 2], &[4], now),
        ("fills a gap", &[0, 2], &[1], now),
        ("fills a gap in part", &[0, 5], &[2], now),
        ("fills the upper of two", &[0, 2, 4], &[3], now),
        ("nothing", &[0, 2], &[], None),
    ];
    for (name, before, packets, due) in cases {
        let mut receipts = after(before);
        packets
            .iter()
            .for_each(|&number| receipts.on_packet(at(10), n(number), true, false, None));
        assert_eq!(receipts.due(), *due, "{name}");
        assert_eq!(receipts.has_news(), !packets.is_empty(), "{name}");
    }
}

#[test]
fn marks_ask_for_haste() {
    let cases = [
        (true, None, at(10)),
        (false, Some(Ecn::Ce), at(10)),
        (false, Some(Ecn::Ect0), at(15)),
        (false, Some(Ecn::Ect1), at(15)),
    ];
    for (at_once, ecn, due) in cases {
        let mut receipts = after(&[0]);
        receipts.on_packet(at(10), n(1), true, at_once, ecn);
        assert_eq!(receipts.due(), Some(due), "{at_once} {ecn:?}");
        // Packets that ask for nothing get nothing.
        let mut receipts = after(&[0]);
        receipts.on_packet(at(10), n(1), false, at_once, ecn);
        assert_eq!(
            (receipts.due(), receipts.has_news()),
            (None, false),
            "{at_once} {ecn:?}"
        );
        assert_eq!(receipts.acknowledgement(), Some(n(2)));
    }
}

#[test]
fn handshake_spaces_do_not_wait() {
    let mut receipts = Receipts::new(Duration::ZERO);
    receipts.on_packet(at(10), n(0), true, false, None);
    assert_eq!(receipts.due(), Some(at(10)));
}

#[test]
fn the_delay_counts_from_the_first_that_waits() {
    let mut receipts = after(&[0]);
    receipts.set_frequency(10);
    (1..5).for_each(|number| receipts.on_packet(at(number), n(number), true, false, None));
    assert_eq!(receipts.due(), Some(at(6)));
    // And the next ACK counts anew.
    receipts.on_ack_sent();
    assert_eq!((receipts.due(), receipts.has_news()), (None, false));
    receipts.on_packet(at(20), n(5), true, false, None);
    assert_eq!(receipts.due(), Some(at(25)));
}

#[test]
fn frequency_is_that_of_packets_that_ask() {
    for (frequency, due_at) in [(0, 1), (1, 1), (2, 2), (10, 10)] {
        let mut receipts = Receipts::new(Duration::from_secs(1));
        receipts.set_frequency(frequency);
        let due = (1..=20).find(|&count| {
            receipts.on_packet(at(0), n(2 * count - 2), true, false, None);
            receipts.on_packet(at(0), n(2 * count - 1), false, false, None);
            receipts.due() == Some(at(0))
        });
        assert_eq!(due, Some(due_at), "frequency {frequency}");
    }
}

#[test]
fn a_gap_opened_by_a_packet_that_does_not_ask_is_told_with_the_next() {
    let mut receipts = after(&[0]);
    receipts.on_packet(at(10), n(2), false, false, None);
    assert_eq!(receipts.due(), None);
    receipts.on_packet(at(20), n(3), true, false, None);
    assert_eq!(receipts.due(), Some(at(20)));
}

#[test]
fn repaired_packets_are_told_at_once_and_counted_once() {
    let mut receipts = after(&[0, 2, 3]);
    receipts.on_repaired(at(10), n(1));
    assert_eq!((receipts.due(), receipts.has_news()), (Some(at(10)), true));
    receipts.on_repaired(at(10), n(1));
    receipts.on_repaired(at(10), n(3));
    let ack = receipts.ack(at(10));
    assert_eq!(
        (ack.repaired, ack.blocks.len(), receipts.acknowledgement()),
        (1, 0, Some(n(4)))
    );
    assert!(receipts.is_duplicate(n(1)));
}

#[test]
fn the_frame_tells_the_nearest_blocks_and_the_delay_of_the_newest() {
    let mut receipts = Receipts::new(DELAY);
    assert_eq!((receipts.acknowledgement(), receipts.expected()), (None, n(0)));
    (0..11).for_each(|block| receipts.on_packet(at(10), n(1 + block * 3), true, false, Some(Ecn::Ect0)));
    receipts.on_packet(at(12), n(32), true, false, Some(Ecn::Ce));
    // What is older, or does not ask, does not count for the delay.
    receipts.on_packet(at(13), n(30), true, false, None);
    receipts.on_packet(at(14), n(33), false, false, None);
    let ack = receipts.ack(at(17));
    assert_eq!((ack.delay_us, ack.ecn), (5_000, Some([11, 0, 1])));
    let mut expected = vec![(30, 33)];
    expected.extend((3..10).rev().map(|block| (1 + block * 3, 1 + block * 3)));
    assert_eq!(blocks(&receipts), expected);
    assert_eq!((receipts.acknowledgement(), receipts.expected()), (Some(n(0)), n(34)));
}

#[test]
fn the_floor_settles_what_is_below() {
    let cases: &[(Numbers, u64, u64, Blocks)] = &[
        // received, floor, then: acknowledgement, blocks
        (&[0, 1, 5], 1, 2, &[(5, 5)]),
        (&[0, 1, 5], 3, 3, &[(5, 5)]),
        (&[0, 1, 5], 5, 6, &[]),
        (&[0, 4, 5, 6, 9], 5, 7, &[(9, 9)]),
        (&[0, 4, 5, 6, 9], 7, 7, &[(9, 9)]),
        (&[0, 2], 9, 9, &[]),
    ];
    for (received, floor, acknowledgement, expected) in cases {
        let mut receipts = after(received);
        receipts.on_floor(n(*floor));
        assert_eq!(
            receipts.acknowledgement(),
            Some(n(*acknowledgement)),
            "{received:?} floor {floor}"
        );
        assert_eq!(blocks(&receipts), *expected, "{received:?} floor {floor}");
        assert!((0..*acknowledgement).all(|number| receipts.is_duplicate(n(number))));
        assert!(!receipts.is_duplicate(n(*acknowledgement)));
    }
}

/// What is given up is not acknowledged: neither what arrived nor, above all, what did not.
#[test]
fn too_many_ranges_give_up_the_lowest() {
    let mut receipts = after(&[0]);
    // 600 gaps: 1, 3, 5 ... are missing.
    (1..=600).for_each(|block| receipts.on_packet(at(0), n(block * 2), true, false, None));
    assert_eq!(receipts.above.len(), MAX_RANGES);
    assert_eq!(receipts.acknowledgement(), Some(n(1)));
    // 2 to 176 are given up.
    assert!(receipts.is_duplicate(n(175)) && receipts.is_duplicate(n(176)) && !receipts.is_duplicate(n(177)));
    receipts.on_floor(n(51));
    assert_eq!(receipts.acknowledgement(), Some(n(51)));
    receipts.on_floor(n(177));
    assert_eq!(receipts.acknowledgement(), Some(n(177)));
    receipts.on_packet(at(0), n(177), true, false, None);
    assert_eq!(receipts.acknowledgement(), Some(n(179)));
}

#[derive(Clone, Debug)]
enum Step {
    Packet(u64, bool),
    Repaired(u64),
    Floor(u64),
    AckSent,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..1_500u64, any::<bool>()).prop_map(|(number, asks)| Step::Packet(number, asks)),
        1 => (0..1_500u64).prop_map(Step::Repaired),
        1 => (0..300u64).prop_map(Step::Floor),
        1 => Just(Step::AckSent),
    ]
}

proptest! {
    #[test]
    fn nothing_is_acknowledged_that_is_not_settled(steps in prop::collection::vec(step(), 0..900)) {
        let mut receipts = Receipts::new(DELAY);
        let (mut received, mut floor, mut last) = (BTreeSet::new(), 0, 0);
        for step in steps {
            match step {
                Step::Packet(number, asks) if !receipts.is_duplicate(n(number)) => {
                    receipts.on_packet(at(0), n(number), asks, false, None);
                    prop_assert!(received.insert(number), "{} was accepted twice", number);
                }
                Step::Packet(..) => {}
                Step::Repaired(number) => {
                    let before = receipts.repaired;
                    receipts.on_repaired(at(0), n(number));
                    prop_assert!(receipts.repaired == before || received.insert(number));
                }
                Step::Floor(bound) => {
                    receipts.on_floor(n(bound));
                    floor = floor.max(bound);
                }
                Step::AckSent => receipts.on_ack_sent(),
            }
            let acknowledgement = receipts.acknowledgement;
            prop_assert!(acknowledgement >= last);
            last = acknowledgement;
            prop_assert!((floor..acknowledgement).all(|number| received.contains(&number)));
            prop_assert!(receipts.above.len() <= MAX_RANGES && receipts.given_up >= acknowledgement);
            // The blocks lie above, go down and do not touch.
            let mut bound = u64::MAX;
            for (first, last) in blocks(&receipts) {
                prop_assert!(last < bound && first <= last && first > acknowledgement);
                prop_assert!((first..=last).all(|number| received.contains(&number)));
                bound = first - 1;
            }
            if receipts.above.len() < MAX_RANGES && receipts.given_up == acknowledgement {
                // Nothing had to be given up: everything is known.
                let missing = received.range(acknowledgement..).find(|number| !receipts.is_duplicate(n(**number)));
                prop_assert_eq!(missing, None);
            }
        }
    }
}
