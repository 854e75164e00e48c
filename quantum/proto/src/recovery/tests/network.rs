//! A sender's recovery and a receiver's receipts, with a network between them that loses, delays and doubles.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::*;
use crate::receipt::Receipts;

const SPACE: Space = Space::Application;
const PACKETS: u64 = 400;
const DELAY: Duration = ms(5);

#[derive(Clone, Copy, Debug)]
struct Network {
    seed: u64,
    loss: f64,
    doubling: f64,
    repair: f64,
    latency_us: u64,
    jitter_us: u64,
}

#[derive(Clone, Debug)]
enum Event {
    Send,
    Arrive {
        number: u64,
        asks: bool,
        floor: Option<PacketNumber>,
    },
    Repair {
        number: u64,
    },
    Acknowledge {
        below: PacketNumber,
        frame: Option<Ack>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    InFlight,
    Lost,
    Acked,
    Spurious,
}

struct World {
    network: Network,
    rng: StdRng,
    now: Time,
    events: BTreeMap<(Time, u64), Event>,
    scheduled: u64,
    recovery: Recovery,
    receipts: Receipts,
    fates: BTreeMap<u64, Fate>,
    received: BTreeSet<u64>,
    floor: PacketNumber,
    spurious: u64,
}

impl World {
    fn new(network: Network) -> Self {
        let mut recovery = Recovery::new(ms(100));
        recovery.set_max_ack_delay(DELAY);
        recovery.on_confirmed();
        let mut world = Self {
            network,
            rng: StdRng::seed_from_u64(network.seed),
            now: Time::ZERO,
            events: BTreeMap::new(),
            scheduled: 0,
            recovery,
            receipts: Receipts::new(DELAY),
            fates: BTreeMap::new(),
            received: BTreeSet::new(),
            floor: PacketNumber::ZERO,
            spurious: 0,
        };
        (0..PACKETS).for_each(|number| world.schedule(Duration::from_micros(number * 300), Event::Send));
        world
    }

    fn schedule(&mut self, after: Duration, event: Event) {
        self.scheduled += 1;
        self.events.insert((self.now + after, self.scheduled), event);
    }

    /// Puts something onto the network: it arrives not at all, once or twice.
    fn transmit(&mut self, event: &Event) {
        let copies = 1 + u32::from(self.rng.random_bool(self.network.doubling));
        for _ in 0..copies {
            if !self.rng.random_bool(self.network.loss) {
                let delay = self.network.latency_us + self.rng.random_range(0..=self.network.jitter_us);
                self.schedule(Duration::from_micros(delay), event.clone());
            }
        }
    }

    fn send(&mut self, asks: bool) {
        if self.rng.random_bool(0.02) {
            let to = self.recovery.next_number(SPACE).0 + self.rng.random_range(1..5);
            self.recovery.skip(SPACE, n(to));
        }
        let number = self.recovery.next_number(SPACE).0;
        let floor = self.recovery.wants_floor(SPACE).then(|| self.recovery.floor(SPACE));
        let frames = floor.iter().map(|_| SentFrame::Floor).collect();
        let sent = SentPacket {
            asks_for_ack: asks,
            frames,
            ..packet(number, self.now.as_nanos())
        };
        self.recovery.on_sent(SPACE, sent);
        if asks {
            self.fates.insert(number, Fate::InFlight);
        }
        self.transmit(&Event::Arrive { number, asks, floor });
        if self.rng.random_bool(self.network.repair) {
            self.transmit(&Event::Repair { number });
        }
    }

    fn acknowledge(&mut self, with_frame: bool) {
        let Some(below) = self.receipts.acknowledgement() else {
            return;
        };
        let frame = with_frame.then(|| self.receipts.ack(self.now));
        if with_frame {
            self.receipts.on_ack_sent();
        }
        self.transmit(&Event::Acknowledge { below, frame });
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Send => {
                let asks = self.rng.random_bool(0.8);
                self.send(asks);
            }
            Event::Arrive { number, asks, floor } => {
                if !self.receipts.is_duplicate(n(number)) {
                    self.received.insert(number);
                    self.receipts.on_packet(self.now, n(number), asks, false, None);
                    floor.into_iter().for_each(|floor| self.receipts.on_floor(floor));
                }
                if self.rng.random_bool(0.1) {
                    self.acknowledge(false);
                }
            }
            Event::Repair { number } => {
                if !self.receipts.is_duplicate(n(number)) {
                    self.received.insert(number);
                    self.receipts.on_repaired(self.now, n(number));
                }
            }
            Event::Acknowledge { below, frame } => {
                let mut outcome = Outcome::default();
                let result = self
                    .recovery
                    .on_ack(self.now, SPACE, below, frame.as_ref(), &mut outcome);
                result.expect("an honest acknowledgement");
                self.take(&outcome);
            }
        }
    }

    /// Every packet goes from in flight to acknowledged, or to lost and perhaps from there to spurious.
    fn take(&mut self, outcome: &Outcome) {
        assert!(numbers(&outcome.acked).is_sorted() && numbers(&outcome.lost).is_sorted());
        let mut spurious = 0;
        for packet in &outcome.acked {
            assert!(
                self.received.contains(&packet.number.0),
                "{} never arrived",
                packet.number
            );
            let fate = self.fates.get_mut(&packet.number.0).expect("it was sent");
            *fate = match *fate {
                Fate::InFlight => Fate::Acked,
                Fate::Lost => Fate::Spurious,
                settled => panic!("{} was {settled:?}", packet.number),
            };
            spurious += u32::from(*fate == Fate::Spurious);
        }
        assert_eq!(outcome.spurious, spurious);
        self.spurious += u64::from(spurious);
        for packet in &outcome.lost {
            let fate = self.fates.insert(packet.number.0, Fate::Lost);
            assert_eq!(fate, Some(Fate::InFlight), "{}", packet.number);
        }
        assert!(
            outcome
                .rtt
                .is_none_or(|rtt| rtt.as_micros() as u64 >= 2 * self.network.latency_us)
        );
    }

    fn check(&mut self) {
        let in_flight = self.fates.values().filter(|fate| **fate == Fate::InFlight).count() as u64;
        assert_eq!(self.recovery.bytes_in_flight(), in_flight * 1_000);
        let floor = self.recovery.floor(SPACE);
        assert!(floor >= self.floor, "the floor fell from {} to {floor}", self.floor);
        self.floor = floor;
        let oldest = self.fates.iter().find(|(_, fate)| **fate == Fate::InFlight);
        assert!(oldest.is_none_or(|(number, _)| *number >= floor.0));
    }

    /// Until nothing is under way and nothing in flight.
    fn run(&mut self) {
        for _ in 0..100_000 {
            let event = self.events.first_key_value().map(|((at, _), _)| *at);
            let due = self.receipts.due();
            let timer = self.recovery.timeout();
            let Some(next) = [event, due, timer].into_iter().flatten().min() else {
                return;
            };
            self.now = self.now.max(next);
            if event == Some(next) {
                let event = self.events.pop_first().expect("looked at before").1;
                self.handle(event);
            } else if due == Some(next) {
                self.acknowledge(true);
            } else {
                let mut outcome = Outcome::default();
                self.recovery.on_timeout(self.now, &mut outcome);
                self.take(&outcome);
                (0..outcome.probe.map_or(0, |(_, count)| count)).for_each(|_| self.send(true));
            }
            self.check();
        }
        panic!("it does not come to an end");
    }
}

fn network() -> impl Strategy<Value = Network> {
    (
        any::<u64>(),
        0.0..0.4,
        0.0..0.2,
        prop_oneof![Just(0.0), 0.0..0.3],
        500..100_000u64,
        0..40_000u64,
    )
        .prop_map(|(seed, loss, doubling, repair, latency_us, jitter_us)| Network {
            seed,
            loss,
            doubling,
            repair,
            latency_us,
            jitter_us,
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn every_packet_meets_one_fate(network in network()) {
        let mut world = World::new(network);
        world.run();
        prop_assert_eq!(world.recovery.bytes_in_flight(), 0);
        prop_assert!(world.fates.values().all(|fate| *fate != Fate::InFlight));
        // What never arrived was found lost.
        let missing = world.fates.iter().filter(|(number, _)| !world.received.contains(number));
        prop_assert!(missing.into_iter().all(|(_, fate)| *fate == Fate::Lost));
    }
}

#[derive(Clone, Debug)]
enum Step {
    Send(bool),
    Skip(u64),
    Wait(u64),
    Ack(u64, Vec<(u64, u64)>),
    Timeout,
}

fn hostile_step() -> impl Strategy<Value = Step> {
    let blocks = prop::collection::vec((0..60u64, 0..9u64), 0..8);
    prop_oneof![
        6 => any::<bool>().prop_map(Step::Send),
        1 => (1..5u64).prop_map(Step::Skip),
        2 => (0..400u64).prop_map(Step::Wait),
        4 => (0..20u64, blocks).prop_map(|(below, blocks)| Step::Ack(below, blocks)),
        1 => Just(Step::Timeout),
    ]
}

proptest! {
    /// Whatever is acknowledged, in whatever order: it is an error, or the accounts stay right.
    #[test]
    fn hostile_acknowledgements_do_no_harm(steps in prop::collection::vec(hostile_step(), 0..150)) {
        let (mut bench, mut now) = (Bench::new(), 0);
        let mut open = BTreeSet::new();
        for step in steps {
            let mut outcome = Outcome::default();
            match step {
                Step::Send(true) => {
                    open.insert(bench.send(now));
                }
                Step::Send(false) => bench.send_frames(now, false, &[SentFrame::Floor]),
                Step::Skip(by) => {
                    let to = bench.recovery.next_number(SPACE).0 + by;
                    bench.recovery.skip(SPACE, n(to));
                }
                Step::Wait(millis) => now += millis,
                Step::Ack(below, blocks) => {
                    // Counted back from the numbers in use, so that many are right.
                    let next = bench.recovery.next_number(SPACE).0 + 1;
                    let block = |&(back, more): &(u64, u64)| (next.saturating_sub(back), next.saturating_sub(back) + more);
                    let blocks: Vec<_> = blocks.iter().map(block).collect();
                    match bench.try_ack(now, next.saturating_sub(below * 3), Some(&ack(&blocks))) {
                        Ok(told) => outcome = told,
                        Err(error) => prop_assert_eq!(error.code, crate::error::CloseCode::PROTOCOL),
                    }
                }
                Step::Timeout => bench.recovery.on_timeout(at(now), &mut outcome),
            }
            let spurious = outcome.acked.iter().filter(|packet| !open.remove(&packet.number.0)).count();
            prop_assert_eq!(outcome.spurious as usize, spurious);
            for packet in &outcome.lost {
                prop_assert!(open.remove(&packet.number.0));
            }
            prop_assert_eq!(bench.recovery.bytes_in_flight(), open.len() as u64 * 1_000);
        }
    }
}

const JITTER: Network = Network {
    seed: 1,
    loss: 0.0,
    doubling: 0.0,
    repair: 0.0,
    latency_us: 40_000,
    jitter_us: 10_000,
};

/// 10 ms of jitter reorder by 33 packets: the thresholds learn that from the first of them.
#[test]
fn jitter_makes_no_flood_of_spurious_losses() {
    let mut world = World::new(JITTER);
    world.run();
    assert!(
        world
            .fates
            .values()
            .all(|fate| matches!(fate, Fate::Acked | Fate::Spurious))
    );
    assert!((1..25).contains(&world.spurious), "{} spurious losses", world.spurious);
}

/// Without losses and disorder nothing is taken for lost, though numbers are left out.
#[test]
fn a_clean_link_is_left_alone() {
    let mut world = World::new(Network { jitter_us: 0, ..JITTER });
    world.run();
    assert!(world.fates.values().all(|fate| *fate == Fate::Acked));
}
