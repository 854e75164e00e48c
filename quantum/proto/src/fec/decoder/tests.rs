//! Losses of every pattern, and peers whose parities make no sense.

use proptest::prelude::*;

use super::*;
use crate::fec::Encoder;

type Packets = Vec<(PacketNumber, Bytes)>;

/// A payload that differs from its neighbours in bytes and length; now and then empty or as long as a packet can hold.
fn payload(index: usize) -> Bytes {
    let length = match index % 5 {
        1 => 0,
        3 => 1_400,
        _ => 37 * index + 1,
    };
    (0..length).map(|at| (at * 31 + index * 101 + 7) as u8).collect()
}

fn block(first: u64, payloads: &[Bytes]) -> (Packets, Vec<Parity>) {
    let mut encoder = Encoder::new();
    let packets: Packets = (first..).map(PacketNumber).zip(payloads.iter().cloned()).collect();
    for (number, payload) in &packets {
        encoder.add(*number, payload);
    }
    (packets, encoder.close(PARITIES))
}

/// A block of `k` packets numbered from 100.
fn block_of(k: usize) -> (Packets, Vec<Parity>) {
    block(100, &(0..k).map(payload).collect::<Vec<_>>())
}

fn source(decoder: &mut Decoder, packet: &(PacketNumber, Bytes)) -> Packets {
    let mut repaired = Vec::new();
    decoder.on_source(packet.0, packet.1.clone(), &mut repaired);
    repaired
}

fn parity(decoder: &mut Decoder, parity: &Parity) -> Packets {
    let mut repaired = Vec::new();
    decoder.on_parity(parity.clone(), &mut repaired).unwrap();
    repaired
}

/// Gives a decoder what is not in the mask `lost` (sources from bit 0, then parities) and checks that all lost sources come out.
fn lose(packets: &[(PacketNumber, Bytes)], parities: &[Parity], lost: u32, parities_first: bool) {
    let k = packets.len();
    let mut decoder = Decoder::new();
    let mut repaired = Vec::new();
    for first in [parities_first, !parities_first] {
        if first {
            for parity in parities
                .iter()
                .filter(|parity| lost & 1 << (k + usize::from(parity.index)) == 0)
            {
                decoder.on_parity(parity.clone(), &mut repaired).unwrap();
            }
        } else {
            for (_, (number, payload)) in packets.iter().enumerate().filter(|(index, _)| lost & 1 << index == 0) {
                decoder.on_source(*number, payload.clone(), &mut repaired);
            }
        }
    }
    // With the parities first, packets are "repaired" that only come later.
    let expected: Packets = if parities_first {
        packets
            .iter()
            .filter(|packet| repaired.contains(packet))
            .cloned()
            .collect()
    } else {
        let lost = packets.iter().enumerate().filter(|(index, _)| lost & 1 << index != 0);
        lost.map(|(_, packet)| packet.clone()).collect()
    };
    repaired.sort_by_key(|(number, _)| *number);
    assert_eq!(repaired, expected, "lost {lost:013b} of {k}");
    for (index, packet) in packets.iter().enumerate() {
        assert!(
            lost & 1 << index == 0 || repaired.contains(packet),
            "{index} lost in {lost:013b} of {k}"
        );
    }
    assert!(decoder.blocks.is_empty());
    assert_eq!(decoder.contradictions(), 0);
}

#[test]
fn all_ways_to_lose_three_packets_of_a_block_are_repaired() {
    for k in 1..=SOURCES {
        let (packets, parities) = block_of(k);
        let mut ways = 0;
        for lost in (0_u32..1 << (k + PARITIES)).filter(|lost| lost.count_ones() <= 3) {
            lose(&packets, &parities, lost, false);
            lose(&packets, &parities, lost, true);
            ways += usize::from(lost.count_ones() == 3);
        }
        assert_eq!(ways, (k + 3) * (k + 2) * (k + 1) / 6);
    }
}

#[test]
fn a_block_of_empty_payloads_is_repaired() {
    let (packets, parities) = block(5, &vec![Bytes::new(); 4]);
    lose(&packets, &parities, 0b111, false);
}

#[test]
fn four_losses_are_repaired_when_one_of_them_comes_late() {
    let (packets, parities) = block_of(10);
    let mut decoder = Decoder::new();
    for packet in &packets[4..] {
        assert!(source(&mut decoder, packet).is_empty());
    }
    for symbol in &parities {
        assert!(parity(&mut decoder, symbol).is_empty());
    }
    assert_eq!(
        source(&mut decoder, &packets[2]),
        [packets[0].clone(), packets[1].clone(), packets[3].clone()]
    );
    assert!(decoder.blocks.is_empty());
}

#[test]
fn duplicates_repair_nothing_twice() {
    let (packets, parities) = block_of(3);
    let mut decoder = Decoder::new();
    source(&mut decoder, &packets[0]);
    source(&mut decoder, &packets[0]);
    assert!(parity(&mut decoder, &parities[1]).is_empty());
    assert!(
        parity(&mut decoder, &parities[1]).is_empty(),
        "the same parity again is no second one"
    );
    assert_eq!(parity(&mut decoder, &parities[0]).len(), 2);
    assert!(parity(&mut decoder, &parities[2]).is_empty());
    assert!(source(&mut decoder, &packets[1]).is_empty());
    assert_eq!(decoder.contradictions(), 0);
}

#[test]
fn a_repaired_packet_helps_another_block() {
    let (packets, first) = block(10, &[payload(2), payload(4)]);
    let mut encoder = Encoder::new();
    encoder.add(packets[1].0, &packets[1].1);
    encoder.add(PacketNumber(12), b"third");
    let second = encoder.close(1);
    let mut decoder = Decoder::new();
    assert!(parity(&mut decoder, &second[0]).is_empty());
    assert!(parity(&mut decoder, &first[0]).is_empty());
    let repaired = source(&mut decoder, &packets[0]);
    assert_eq!(
        repaired,
        [packets[1].clone(), (PacketNumber(12), Bytes::from_static(b"third"))]
    );
}

#[test]
fn memory_is_bounded_and_the_oldest_goes() {
    let mut decoder = Decoder::new();
    let blocks: Vec<_> = (0..20).map(|at| block(at * 10, &[payload(2), payload(4)])).collect();
    for (_, parities) in &blocks {
        parity(&mut decoder, &parities[0]);
    }
    assert_eq!(decoder.blocks.len(), BLOCKS);
    assert!(
        source(&mut decoder, &blocks[0].0[0]).is_empty(),
        "its block was given up"
    );
    assert_eq!(source(&mut decoder, &blocks[19].0[0]), [blocks[19].0[1].clone()]);

    for number in (1_000..1_100).rev().chain(2_000..2_040) {
        source(&mut decoder, &(PacketNumber(number), Bytes::new()));
    }
    let kept: Vec<u64> = decoder.payloads.0.iter().map(|(number, _)| number.0).collect();
    assert_eq!(kept, (1_076..1_100).chain(2_000..2_040).collect::<Vec<_>>());
}

#[test]
fn malformed_frames_are_errors() {
    let (_, parities) = block_of(3);
    let mut broken = vec![parities[0].clone(); 6];
    broken[0].sources.clear();
    broken[1].sources = (0..11).map(PacketNumber).collect();
    broken[2].sources.swap(0, 1);
    broken[3].sources[1] = broken[3].sources[0];
    broken[4].index = 3;
    broken[5].symbol = Bytes::from_static(&[1]);
    for parity in broken {
        let error = Decoder::new().on_parity(parity, &mut Vec::new()).unwrap_err();
        assert_eq!(error.code, CloseCode::FRAME);
    }
}

#[test]
fn a_block_that_contradicts_itself_is_dropped_and_counted() {
    let (packets, parities) = block_of(5);
    let broken = |change: fn(&mut Parity)| {
        let mut parity = parities[1].clone();
        change(&mut parity);
        parity
    };
    let other_sources = broken(|parity| parity.sources[1] = PacketNumber(7_000));
    let other_length = broken(|parity| parity.symbol = parity.symbol.slice(1..));
    let other_bytes = broken(|parity| parity.symbol = parity.symbol.iter().map(|byte| byte ^ 0xa5).collect());
    let mut other_sources_sorted = other_sources;
    other_sources_sorted.sources.sort();
    for (wrong, received) in [(other_sources_sorted, 0), (other_length, 0), (other_bytes, 3)] {
        let mut decoder = Decoder::new();
        for packet in &packets[..received] {
            source(&mut decoder, packet);
        }
        assert!(parity(&mut decoder, &parities[0]).is_empty());
        assert!(parity(&mut decoder, &wrong).is_empty());
        assert_eq!((decoder.contradictions(), decoder.blocks.len()), (1, 0));
    }

    // Too short for a source that it must contain, which came before or after it.
    let short = Parity {
        symbol: Bytes::from_static(&[0; 20]),
        ..parities[0].clone()
    };
    for source_first in [true, false] {
        let mut decoder = Decoder::new();
        if source_first {
            source(&mut decoder, &packets[3]);
        }
        assert!(parity(&mut decoder, &short).is_empty());
        assert!(source(&mut decoder, &packets[3]).is_empty());
        assert_eq!((decoder.contradictions(), decoder.blocks.len()), (1, 0));
    }
}

fn nonsense() -> impl Strategy<Value = Parity> {
    let sources = prop::collection::btree_set(0_u64..24, 0..12);
    let symbol = prop::collection::vec(any::<u8>(), 0..12);
    (sources, 0_u8..4, symbol).prop_map(|(sources, index, symbol)| Parity {
        sources: sources.into_iter().map(PacketNumber).collect(),
        index,
        symbol: symbol.into(),
    })
}

proptest! {
    /// A peer that sends nonsense does not crash us, nor make us keep more than the limits.
    #[test]
    fn nonsense_is_survived(inputs in prop::collection::vec((any::<bool>(), nonsense(), 0_u64..24), 0..80)) {
        let mut decoder = Decoder::new();
        for (is_parity, parity, number) in inputs {
            let mut repaired = Vec::new();
            if is_parity {
                let _ = decoder.on_parity(parity, &mut repaired);
            } else {
                decoder.on_source(PacketNumber(number), parity.symbol, &mut repaired);
            }
            prop_assert!(decoder.payloads.0.len() <= PAYLOADS && decoder.blocks.len() <= BLOCKS);
        }
    }

    /// Whatever order the packets come in, with up to three lost, all sources are known in the end.
    #[test]
    fn any_order_repairs(
        payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 1..=10),
        order in Just((0..13).collect::<Vec<usize>>()).prop_shuffle(),
        lost in 0..4_usize,
    ) {
        let payloads: Vec<Bytes> = payloads.into_iter().map(Bytes::from).collect();
        let (packets, parities) = block(40, &payloads);
        let k = packets.len();
        let order: Vec<usize> = order.into_iter().filter(|&index| index < k + PARITIES).collect();
        let mut decoder = Decoder::new();
        let mut known = Vec::new();
        for &index in order.iter().skip(lost) {
            if index < k {
                decoder.on_source(packets[index].0, packets[index].1.clone(), &mut known);
                known.push(packets[index].clone());
            } else {
                decoder.on_parity(parities[index - k].clone(), &mut known).unwrap();
            }
        }
        known.sort_by_key(|(number, _)| *number);
        known.dedup();
        prop_assert_eq!(known, packets);
    }
}
