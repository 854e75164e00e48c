//! Silence: probes, then the retransmission timeout.

use super::*;

/// Times and what happened at them, of a sender that hears nothing and answers each expiry with a packet.
fn silence(bench: &mut Bench, count: usize) -> Vec<(u64, &'static str)> {
    let mut seen = Vec::new();
    for _ in 0..count {
        let now = bench.timer_ms().expect("a timer while something is in flight") + 1;
        assert!(bench.timeout(now - 2).probe.is_none(), "too early");
        let outcome = bench.timeout(now);
        seen.push((
            now,
            match (outcome.probe, outcome.timeout) {
                (Some((_, 2)), false) => "two probes",
                (Some((_, 1)), false) => "a probe",
                (None, true) => "timeout",
                other => panic!("{other:?}"),
            },
        ));
        assert_eq!(outcome.timeout, !outcome.lost.is_empty());
        bench.send(now);
    }
    seen
}

#[test]
fn two_probes_then_timeouts() {
    let mut bench = Bench::settled();
    bench.recovery.set_max_ack_delay(ms(5));
    bench.send(0);
    // 80 + 1 + 5 ms and a rest of variation, cut to whole milliseconds and rounded up.
    let expected = [
        (87, "two probes"),
        (260, "a probe"),
        (347, "timeout"),
        (520, "timeout"),
        (865, "timeout"),
        (1_554, "timeout"),
    ];
    assert_eq!(silence(&mut bench, 6), expected);
}

#[test]
fn a_timeout_loses_everything_in_flight_and_may_be_spurious() {
    let mut bench = Bench::settled();
    bench.send_many(0, 5);
    bench.timeout(100);
    bench.timeout(1_000);
    let outcome = bench.timeout(2_000);
    assert!(outcome.timeout && outcome.probe.is_none());
    assert_eq!(numbers(&outcome.lost), [0, 1, 2, 3, 4]);
    assert_eq!((bench.recovery.bytes_in_flight(), bench.timer_ms()), (0, None));
    let outcome = bench.ack(2_010, 5, &[]);
    assert_eq!(
        (outcome.acked.len(), outcome.spurious, outcome.rtt),
        (5, 5, Some(ms(2_010)))
    );
    // That was no reordering: the thresholds stay.
    bench.send_many(2_020, 4);
    assert_eq!(numbers(&bench.ack(2_100, 5, &[(8, 8)]).lost), [5]);
}

#[test]
fn an_acknowledgement_ends_the_silence() {
    let mut bench = Bench::settled();
    bench.send(0);
    silence(&mut bench, 3);
    let now = 1_000;
    let last = bench.send(now);
    bench.ack(now + 80, last + 1, &[]);
    assert_eq!(bench.timer_ms(), None);
    bench.send(now + 100);
    assert_eq!(silence(&mut bench, 1)[0].1, "two probes");
}

#[test]
fn the_timer_runs_from_the_last_packet_that_asks() {
    let mut bench = Bench::settled();
    bench.send(0);
    bench.send(50);
    bench.send_frames(70, false, &[]);
    assert_eq!(bench.timer_ms(), Some(50 + 81));
    bench.ack(80, 1, &[]);
    assert_eq!(bench.timer_ms(), Some(50 + 81));
    bench.ack(130, 2, &[]);
    assert_eq!(bench.timer_ms(), None);
}

#[test]
fn probes_find_the_oldest_in_flight() {
    let mut bench = Bench::settled();
    bench.send_many(0, 6);
    bench.ack(80, 0, &[(3, 4)]);
    let packets: Vec<_> = bench
        .recovery
        .in_flight(bench.space)
        .map(|packet| packet.number.0)
        .collect();
    assert_eq!(packets, [2, 5]);
}
