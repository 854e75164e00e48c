//! Single events, without a link.

use super::super::*;

const PACKET: u16 = 1000;
const RTT: Duration = Duration::from_millis(40);

/// A sender whose packets are acknowledged two at a time, an RTT after they went.
struct Harness {
    bbr: Bbr,
    now: Time,
    in_flight: Vec<(Time, Snapshot)>,
}

impl Harness {
    fn new() -> Self {
        Self {
            bbr: Bbr::new(Time::ZERO, PACKET, RTT, 1),
            now: Time::ZERO,
            in_flight: Vec::new(),
        }
    }

    fn bytes(&self) -> u64 {
        self.in_flight.len() as u64 * u64::from(PACKET)
    }

    fn end(&mut self, rtt: Option<Duration>) {
        let ack = AckEnd {
            rtt,
            smoothed_rtt: RTT,
            in_flight: self.bytes(),
            repaired: 0,
            ecn_ce: 0,
        };
        self.bbr.on_ack_end(self.now, ack);
    }

    fn send(&mut self, packets: usize) {
        for _ in 0..packets {
            let bytes = self.bytes();
            let snapshot = self.bbr.on_sent(self.now, PACKET, bytes);
            self.in_flight.push((self.now, snapshot));
        }
    }

    /// Packets of 1 ms each for some rounds: 40 of them fill the path of 1 MB/s.
    fn steady(&mut self, rounds: u64) {
        for _ in 0..rounds * 20 {
            self.now += Duration::from_millis(2);
            self.send(2);
            while self.in_flight.first().is_some_and(|(at, _)| self.now.since(*at) >= RTT) {
                let (at, snapshot) = self.in_flight.remove(0);
                self.bbr.on_acked(self.now, PACKET, at, &snapshot);
            }
            self.end(Some(RTT));
        }
    }

    fn lose(&mut self, packets: usize) {
        for (_, snapshot) in self.in_flight.drain(..packets) {
            self.bbr.on_lost(self.now, PACKET, &snapshot);
        }
    }
}

#[test]
fn the_first_sample_of_the_round_trip_sets_the_rate() {
    let mut harness = Harness::new();
    assert_eq!(harness.bbr.pacing_rate(), (10_000.0 / 0.04 * 2.77) as u64);
    harness.send(10);
    harness.now += Duration::from_millis(10);
    let (at, snapshot) = harness.in_flight.remove(0);
    harness.bbr.on_acked(harness.now, PACKET, at, &snapshot);
    harness.end(Some(Duration::from_millis(10)));
    assert_eq!(harness.bbr.pacing_rate(), (10_000.0 / 0.01 * 2.77) as u64);
    assert!(harness.bbr.window() >= 10_000);
}

#[test]
fn finds_the_bandwidth() {
    let mut harness = Harness::new();
    harness.steady(10);
    assert_ne!(harness.bbr.state(), "Startup");
    let bandwidth = harness.bbr.max_bandwidth.max();
    assert!((950_000..=1_050_000).contains(&bandwidth), "{bandwidth}");
    assert!(
        (80_000..=100_000).contains(&harness.bbr.window()),
        "{}",
        harness.bbr.window()
    );
}

#[test]
fn a_timeout_cuts_the_window_until_something_arrives() {
    let mut harness = Harness::new();
    harness.steady(10);
    let before = harness.bbr.window();
    let packets = harness.in_flight.len();
    harness.lose(packets);
    harness.bbr.on_timeout(harness.now);
    assert_eq!(harness.bbr.window(), 4000);
    harness.steady(3);
    assert!(
        harness.bbr.window() as f64 >= 0.6 * before as f64,
        "{} of {before}",
        harness.bbr.window()
    );
}

#[test]
fn many_timeouts_forget_the_path() {
    let mut harness = Harness::new();
    harness.steady(10);
    harness.lose(40);
    for _ in 0..3 {
        harness.bbr.on_timeout(harness.now);
    }
    assert_eq!((harness.bbr.state(), harness.bbr.window()), ("Startup", 4000));
    assert_eq!(harness.bbr.max_bandwidth.max(), 0);
    harness.in_flight.clear();
    harness.steady(10);
    assert_ne!(harness.bbr.state(), "Startup");
}

#[test]
fn loss_that_was_none_is_undone() {
    let mut harness = Harness::new();
    harness.steady(14);
    harness.bbr.bounds.reset_short_term();
    let window = harness.bbr.window();
    let lost: Vec<_> = harness.in_flight[..12].to_vec();
    harness.lose(12);
    harness.end(None);
    harness.steady(2);
    assert!(
        harness.bbr.bounds.bandwidth_shortterm < u64::MAX,
        "a third of a round lost"
    );
    for (at, snapshot) in &lost {
        harness.bbr.on_acked(harness.now, PACKET, *at, snapshot);
    }
    harness.bbr.on_spurious(11);
    assert!(harness.bbr.bounds.bandwidth_shortterm < u64::MAX, "one was lost indeed");
    harness.bbr.on_spurious(1);
    assert_eq!(harness.bbr.bounds.bandwidth_shortterm, u64::MAX);
    assert!(harness.bbr.window() >= window.min(80_000));
}

#[test]
fn marks_are_congestion() {
    let mut harness = Harness::new();
    harness.steady(14);
    harness.bbr.bounds.reset_short_term();
    let ack = AckEnd {
        rtt: None,
        smoothed_rtt: RTT,
        in_flight: harness.bytes(),
        repaired: 0,
        ecn_ce: 3,
    };
    harness.bbr.on_ack_end(harness.now, ack);
    harness.steady(2);
    assert!(harness.bbr.bounds.bandwidth_shortterm < u64::MAX);
}

#[test]
fn idleness_restarts_at_the_bandwidth() {
    let mut harness = Harness::new();
    harness.steady(14);
    harness.in_flight.clear();
    harness.bbr.on_app_limited(0);
    harness.now += Duration::from_secs(20);
    harness.send(1);
    assert!(harness.bbr.idle_restart);
    let rate = harness.bbr.pacing_rate();
    assert!((900_000..=1_050_000).contains(&rate), "{rate}");
    harness.steady(1);
    assert!(!harness.bbr.idle_restart);
    assert_ne!(harness.bbr.state(), "ProbeRTT");
}

#[test]
fn the_quantum_is_a_millisecond_and_two_packets_at_least() {
    let mut bbr = Bbr::new(Time::ZERO, PACKET, RTT, 1);
    assert_eq!(bbr.send_quantum(), 2000);
    bbr.full_pipe.reached = true;
    bbr.bandwidth = 12_500_000;
    bbr.set_pacing_rate(1.0);
    assert_eq!(bbr.send_quantum(), 12_375);
    bbr.bandwidth = 1 << 40;
    bbr.set_pacing_rate(1.0);
    assert_eq!(bbr.send_quantum(), 65_536);
    bbr.set_packet_size(1452);
    assert!(bbr.window() >= 4 * 1452);
}

#[test]
fn unlimited_senders_are_not_marked() {
    let mut harness = Harness::new();
    let window = harness.bbr.window();
    harness.send((window / u64::from(PACKET)) as usize);
    harness.bbr.on_app_limited(window);
    assert!(!harness.bbr.sampler.app_limited(), "the window kept it back");
    harness.bbr.on_app_limited(window - u64::from(PACKET));
    assert!(harness.bbr.sampler.app_limited());
}

mod any_order {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever happens in whatever order: no panic, a window of four packets, a rate, a quantum of two packets.
        #[test]
        fn keeps_its_invariants(events in proptest::collection::vec((0u8..9, 0usize..40, 0u64..300_000_000), 1..300)) {
            let mut harness = Harness::new();
            let mut lost = Vec::new();
            for (event, count, nanos) in events {
                harness.now += Duration::from_nanos(nanos >> (count % 20));
                let some = count.min(harness.in_flight.len());
                match event {
                    0..=2 => harness.send(count),
                    3 | 4 => {
                        for (at, snapshot) in harness.in_flight.drain(..some).collect::<Vec<_>>() {
                            harness.bbr.on_acked(harness.now, PACKET, at, &snapshot);
                        }
                        harness.end(Some(Duration::from_nanos(nanos)));
                    }
                    5 => {
                        lost.extend_from_slice(&harness.in_flight[..some]);
                        harness.lose(some);
                    }
                    6 => {
                        let arrived = lost.split_off(lost.len() - lost.len().min(count));
                        for (at, snapshot) in &arrived {
                            harness.bbr.on_acked(harness.now, PACKET, *at, snapshot);
                        }
                        harness.bbr.on_spurious(arrived.len() as u32);
                        let ack = AckEnd { rtt: None, smoothed_rtt: Duration::ZERO, in_flight: harness.bytes(), repaired: nanos % 5, ecn_ce: nanos % 3 };
                        harness.bbr.on_ack_end(harness.now, ack);
                    }
                    7 => harness.bbr.on_timeout(harness.now),
                    _ => harness.bbr.on_app_limited(harness.bytes()),
                }
                prop_assert!(harness.bbr.window() >= 4 * u64::from(PACKET));
                prop_assert!(harness.bbr.pacing_rate() > 0);
                prop_assert!(harness.bbr.send_quantum() >= 2 * u64::from(PACKET));
            }
        }
    }
}
