//! Acknowledgement and loss, rule by rule.

use super::*;

#[test]
fn packet_threshold() {
    let cases: &[(Blocks, Numbers)] = &[
        (&[(1, 1)], &[]),
        (&[(2, 2)], &[]),
        (&[(3, 3)], &[0]),
        (&[(4, 4)], &[0, 1]),
        (&[(9, 9), (2, 3)], &[0, 1, 4, 5, 6]),
    ];
    for (blocks, lost) in cases {
        let mut bench = Bench::settled();
        bench.send_many(0, 10);
        let outcome = bench.ack(80, 0, blocks);
        assert_eq!(numbers(&outcome.lost), *lost, "{blocks:?}");
        let acked: Vec<_> = blocks.iter().rev().flat_map(|&(first, last)| first..=last).collect();
        assert_eq!(numbers(&outcome.acked), acked);
        let left = 10 - lost.len() - acked.len();
        assert_eq!(bench.recovery.bytes_in_flight(), left as u64 * 1_000);
    }
}

#[test]
fn time_threshold_and_its_timer() {
    let mut bench = Bench::settled();
    bench.send(0);
    bench.send(10);
    bench.send(20);
    let outcome = bench.ack(100, 0, &[(2, 2)]);
    // 0 was sent 9/8 of 80 ms ago, 1 will have been in 0 ms.
    assert_eq!(numbers(&outcome.lost), [0, 1]);

    bench.send(110);
    bench.send(118);
    assert_eq!(numbers(&bench.ack(198, 0, &[(4, 4)]).lost), [0; 0]);
    assert_eq!(bench.timer_ms(), Some(200));
    assert!(bench.timeout(199).lost.is_empty());
    assert_eq!(numbers(&bench.timeout(200).lost), [3]);
    assert!(bench.timeout(200).lost.is_empty());
    assert_eq!((bench.recovery.bytes_in_flight(), bench.timer_ms()), (0, None));
}

#[test]
fn a_packet_that_was_sent_again_can_be_found_lost_again() {
    let mut bench = Bench::settled();
    bench.send_many(0, 4);
    assert_eq!(numbers(&bench.ack(80, 0, &[(1, 3)]).lost), [0]);
    // What 0 held goes into 4, which is lost too: later packets show it, without any timer.
    bench.send(80);
    bench.send_many(85, 3);
    assert_eq!(numbers(&bench.ack(165, 0, &[(5, 7), (1, 3)]).lost), [4]);
}

#[test]
fn late_arrivals_are_spurious_losses_and_widen_the_thresholds() {
    let mut bench = Bench::settled();
    bench.send_many(0, 12);
    let outcome = bench.ack(80, 0, &[(8, 8)]);
    assert_eq!(numbers(&outcome.lost), [0, 1, 2, 3, 4, 5]);
    let outcome = bench.ack(85, 9, &[]);
    assert_eq!((numbers(&outcome.acked), outcome.spurious), ((0..8).collect(), 6));
    assert_eq!(bench.recovery.bytes_in_flight(), 3_000);
    // The same disorder again: nothing is declared lost.
    bench.send_many(100, 12);
    assert_eq!(numbers(&bench.ack(180, 9, &[(20, 20), (9, 11)]).lost), [0; 0]);
    assert_eq!(bench.ack(185, 21, &[]).spurious, 0);
}

#[test]
fn repaired_packets_teach_no_patience() {
    let mut bench = Bench::settled();
    bench.send_many(0, 12);
    assert_eq!(numbers(&bench.ack(80, 0, &[(3, 9)]).lost), [0, 1, 2]);
    let outcome = bench
        .try_ack(
            85,
            10,
            Some(&Ack {
                repaired: 3,
                ..ack(&[])
            }),
        )
        .unwrap();
    assert_eq!((outcome.spurious, outcome.repaired), (3, 3));
    bench.send_many(100, 12);
    assert_eq!(numbers(&bench.ack(180, 12, &[(15, 15)]).lost), [12]);
}

#[test]
fn lost_packets_are_remembered_for_two_probe_timeouts() {
    // 2 * (80 + 1) ms, less what the variation has left over.
    for (now, spurious, floor) in [(240, 1, 0), (243, 0, 4)] {
        let mut bench = Bench::settled();
        bench.send_many(0, 4);
        assert_eq!(numbers(&bench.ack(80, 0, &[(1, 3)]).lost), [0]);
        assert_eq!(bench.recovery.floor(bench.space), n(0));
        bench.send(160);
        assert_eq!(bench.ack(now, 0, &[(1, 4)]).spurious, 0);
        assert_eq!(bench.recovery.floor(bench.space), n(if floor == 0 { 0 } else { 5 }));
        assert_eq!(bench.ack(now, 5, &[]).spurious, spurious, "at {now} ms");
    }
}

#[test]
fn everything_is_reported_once() {
    let mut bench = Bench::settled();
    bench.send_many(0, 6);
    assert_eq!(numbers(&bench.ack(80, 1, &[(4, 4)]).acked), [0, 4]);
    assert_eq!(numbers(&bench.ack(80, 1, &[(4, 4)]).acked), [0; 0]);
    assert_eq!(numbers(&bench.ack(80, 3, &[(4, 5)]).acked), [1, 2, 5]);
    // An older acknowledgement that was overtaken.
    let outcome = bench.ack(80, 0, &[(0, 0)]);
    assert!(outcome.acked.is_empty() && outcome.lost.is_empty());
}

#[test]
fn liars_are_found_out_and_change_nothing() {
    let cases: &[(u64, Blocks)] = &[
        (21, &[]),
        (u64::MAX, &[]),
        (0, &[(20, 20)]),
        (0, &[(0, u64::MAX)]),
        (0, &[(3, 2)]),
        // 10 to 14 were left out.
        (11, &[]),
        (20, &[]),
        (0, &[(10, 10)]),
        (0, &[(15, 16), (8, 14)]),
        (0, &[(0, 19)]),
    ];
    for (below, blocks) in cases {
        let mut bench = Bench::settled();
        bench.send_many(0, 10);
        bench.recovery.skip(bench.space, n(15));
        bench.send_many(0, 5);
        let error = bench.try_ack(80, *below, Some(&ack(blocks))).expect_err("a lie");
        assert_eq!(error.code, crate::error::CloseCode::PROTOCOL, "{below} {blocks:?}");
        assert_eq!(bench.recovery.bytes_in_flight(), 15_000);
        // The truth is still taken.
        assert_eq!(bench.ack(80, 10, &[(15, 19)]).acked.len(), 15);
    }
}

#[test]
fn numbers_left_out_are_settled_by_the_floor() {
    let mut bench = Bench::settled();
    bench.send_many(0, 3);
    bench.recovery.skip(bench.space, n(5));
    assert_eq!(bench.recovery.next_number(bench.space), n(5));
    bench.send(0);
    assert!(!bench.recovery.wants_floor(bench.space));
    bench.ack(80, 3, &[(5, 5)]);
    assert_eq!(bench.recovery.floor(bench.space), n(6));
    assert!(bench.recovery.wants_floor(bench.space));
    bench.send_frames(81, true, &[SentFrame::Floor]);
    assert!(!bench.recovery.wants_floor(bench.space));
    assert_eq!(numbers(&bench.ack(161, 7, &[]).acked), [6]);
}

/// A change of keys skips a million numbers, which must not cost memory or time.
#[test]
fn a_long_skip() {
    let mut bench = Bench::settled();
    bench.send_many(0, 3);
    bench.recovery.skip(bench.space, PacketNumber::first_of(1));
    bench.send_many(0, 3);
    let first = PacketNumber::first_of(1).0;
    assert_eq!(
        numbers(&bench.ack(80, 2, &[(first, first + 1)]).acked),
        [0, 1, first, first + 1]
    );
    bench
        .try_ack(80, 2, Some(&ack(&[(first - 1, first)])))
        .expect_err("the number before was left out");
}

#[test]
fn packets_that_do_not_ask_count_for_nothing() {
    let mut bench = Bench::settled();
    bench.send_many(0, 2);
    for _ in 0..3 {
        bench.send_frames(0, false, &[]);
    }
    assert_eq!(bench.recovery.bytes_in_flight(), 2_000);
    // But their arrival shows that what was sent before is lost.
    let outcome = bench.ack(80, 0, &[(4, 4)]);
    assert_eq!(
        (numbers(&outcome.acked), numbers(&outcome.lost), outcome.rtt),
        (vec![], vec![0, 1], None)
    );
    assert_eq!((bench.recovery.bytes_in_flight(), bench.timer_ms()), (0, None));
}

#[test]
fn samples_come_from_the_newest_and_from_frames() {
    let mut bench = Bench::new();
    for number in 0..4 {
        bench.send(number * 10);
    }
    // The header alone: no delay, no sample.
    assert_eq!(bench.try_ack(90, 1, None).unwrap().rtt, None);
    assert_eq!(bench.ack(100, 0, &[(2, 2)]).rtt, Some(ms(80)));
    // 1 is not the newest.
    assert_eq!(bench.ack(120, 3, &[]).rtt, None);
    assert_eq!(bench.ack(120, 4, &[]).rtt, Some(ms(90)));
    assert_eq!(
        (bench.recovery.rtt().min, bench.recovery.rtt().latest),
        (ms(80), ms(90))
    );
}

#[test]
fn delay_is_believed_up_to_the_promised_maximum() {
    for (space, confirmed, smoothed) in [
        (Space::Handshake, true, 90),
        (Space::Initial, true, 90),
        (Space::Application, true, 88),
        (Space::Application, false, 85),
    ] {
        let mut bench = Bench {
            recovery: Recovery::new(ms(100)),
            space,
        };
        bench.recovery.set_max_ack_delay(ms(16));
        if confirmed {
            bench.recovery.on_confirmed();
        }
        bench.recovery.rtt.on_sample(ms(80), ms(0));
        bench.send(0);
        let frame = Ack {
            delay_us: 40_000,
            ..ack(&[])
        };
        assert_eq!(bench.try_ack(160, 1, Some(&frame)).unwrap().rtt, Some(ms(160)));
        assert_eq!(bench.recovery.rtt().smoothed, ms(smoothed), "{space:?} {confirmed}");
    }
}

#[test]
fn counters_report_what_they_rose_by() {
    let mut bench = Bench::settled();
    bench.send_many(0, 50);
    let cases = [
        // repaired, CE: newly repaired, newly marked
        (0, 0, 0, 0),
        (3, 2, 3, 2),
        (3, 2, 0, 0),
        (1, 1, 0, 0),
        (4, 7, 1, 5),
        (u64::MAX, u64::MAX, 46, 43),
    ];
    for (repaired, ce, newly_repaired, newly_marked) in cases {
        let frame = Ack {
            repaired,
            ecn: Some([9, 9, ce]),
            ..ack(&[])
        };
        let outcome = bench.try_ack(80, 0, Some(&frame)).unwrap();
        assert_eq!(
            (outcome.repaired, outcome.ecn_ce),
            (newly_repaired, newly_marked),
            "{repaired} {ce}"
        );
    }
}

#[test]
fn an_outcome_can_be_used_again() {
    let mut bench = Bench::settled();
    bench.send_many(0, 9);
    let mut outcome = bench.ack(80, 0, &[(5, 8)]);
    assert!(!outcome.acked.is_empty() && !outcome.lost.is_empty() && outcome.rtt.is_some());
    outcome.clear();
    assert!(outcome.acked.is_empty() && outcome.lost.is_empty() && outcome.rtt.is_none());
    assert!(outcome.acked.capacity() >= 4);
}

#[test]
fn what_a_floor_settles_need_not_have_arrived() {
    let mut bench = Bench::settled();
    bench.send_many(0, 2);
    bench.send_frames(0, false, &[]);
    bench.ack(80, 2, &[]);
    bench.send_frames(80, true, &[SentFrame::Floor]);
    bench.try_ack(160, 3, None).unwrap();
    assert_eq!(bench.recovery.largest_acked(bench.space), Some(n(1)));
    bench.try_ack(160, 4, None).unwrap();
    assert_eq!(bench.recovery.largest_acked(bench.space), Some(n(3)));
}
