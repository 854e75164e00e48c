//! Flows through one bottleneck: among themselves, and beside TCP's kind. The background flows are tested first, alone.

use std::time::Duration;

use quantum_proto::{Side, Time, TransportConfig};

use crate::{
    app::{App, Kind},
    flow::Algorithm,
    journal::bytes_between,
    link::LinkSpec,
    pair::{MS, SECOND, Setup},
    tls,
    world::{End, World, endpoint_config},
};

/// 40 ms there and back.
fn bottleneck(rate: u64, queue_bdp: f64) -> LinkSpec {
    LinkSpec::clean(MS * 20).limited(rate, queue_bdp)
}

/// Packets that each flow delivers in the last two thirds of a minute; the second begins 5 s later.
fn background(algorithms: &[Algorithm], link: LinkSpec) -> Vec<f64> {
    let mut world = World::new(1);
    let (up, down) = (world.link(link.clone()), world.link(link));
    for algorithm in algorithms {
        world.flow(*algorithm, up, down);
        world.run_for(SECOND * 5);
    }
    world.run_for(SECOND * 15);
    let before: Vec<u64> = world.flows.iter().map(|flow| flow.delivered).collect();
    world.run_for(SECOND * 40);
    world
        .flows
        .iter()
        .zip(before)
        .map(|(flow, before)| (flow.delivered - before) as f64)
        .collect()
}

#[test]
fn a_background_flow_alone_fills_the_link() {
    let full = 10e6 * 40.0 / 8.0 / 1500.0;
    for algorithm in [Algorithm::NewReno, Algorithm::Cubic] {
        let alone = background(&[algorithm], bottleneck(10_000_000, 1.0))[0];
        assert!(
            alone >= full * 0.9 && alone <= full * 1.001,
            "{algorithm:?}: {alone} of {full}"
        );
    }
}

#[test]
fn background_flows_share_as_tcp_does() {
    use Algorithm::{Cubic, NewReno};
    for pair in [[NewReno, NewReno], [Cubic, Cubic]] {
        let shares = background(&pair, bottleneck(10_000_000, 1.0));
        let share = shares[0] / (shares[0] + shares[1]);
        assert!((0.3..=0.7).contains(&share), "{pair:?}: {share}");
    }
    // Random loss is what they cannot stand.
    let lossy = bottleneck(10_000_000, 1.0).losing(crate::link::Loss::Bernoulli(0.01));
    let full = 10e6 * 40.0 / 8.0 / 1500.0;
    assert!(background(&[NewReno], lossy)[0] < full * 0.5);
}

/// Two connections with a minute of bulk over one link, the second begun this much later, and this much time more.
pub(crate) fn two_with_bulk(seed: u64, link: LinkSpec, apart: Duration) -> World {
    let mut world = World::new(seed);
    let (up, down) = (world.link(link.clone()), world.link(link));
    let accept = Box::new(move |_| App::new(seed, Side::Server));
    world.server(
        endpoint_config(seed, 0),
        tls::server(TransportConfig::default()),
        accept,
    );
    let config = tls::client(TransportConfig::default());
    for _ in 0..2 {
        let host = world.client(up, down);
        let app = App::new(seed, Side::Client).bulk(Kind::BULK, SECOND * 60);
        world.connect(host, &config, app);
        world.run_for(apart);
    }
    world
}

/// Bytes that each of two connections delivers in the last two thirds of a minute.
fn two_connections(seed: u64, link: LinkSpec) -> [usize; 2] {
    let mut world = two_with_bulk(seed, link, SECOND * 5);
    world.run_for(SECOND * 50);
    let (from, to) = (Time::ZERO + SECOND * 20, Time::ZERO + SECOND * 60);
    [0, 1].map(|slot| bytes_between(world.app(End { host: 0, slot }), Kind::BULK, from, to))
}

#[test]
fn two_connections_share_the_link() {
    for (rate, queue) in [(10_000_000, 1.0), (4_000_000, 4.0), (20_000_000, 0.5)] {
        for seed in 1..=2 {
            let bytes = two_connections(seed, bottleneck(rate, queue));
            let sum = bytes[0] + bytes[1];
            let share = bytes[0] as f64 / sum as f64;
            assert!(
                (0.4..=0.6).contains(&share),
                "seed {seed}, {rate} bit/s, {queue} BDP: {share}"
            );
            assert!(
                sum as f64 * 8.0 / 40.0 >= 0.85 * rate as f64,
                "seed {seed}: {rate} bit/s used for {sum} bytes"
            );
        }
    }
}

/// Bytes a second of a bulk connection, and of a background flow beside it, after the first quarter.
pub(crate) fn beside(seed: u64, algorithm: Algorithm, link: LinkSpec, time: Duration) -> (f64, f64) {
    let mut pair = Setup::new(seed, link).client(|app| app.bulk(Kind::BULK, time)).start();
    let flow = pair.world.flow(algorithm, 0, 1);
    pair.run_for(time / 4);
    let before = pair.world.flows[flow].delivered;
    pair.run_for(time * 3 / 4);
    let seconds = time.as_secs_f64() * 0.75;
    let packets = pair.world.flows[flow].delivered - before;
    let bytes = bytes_between(pair.server(), Kind::BULK, Time::ZERO + time / 4, Time::ZERO + time);
    (bytes as f64 / seconds, packets as f64 * 1448.0 / seconds)
}

#[test]
fn neither_a_connection_nor_tcp_starves_beside_the_other() {
    for algorithm in [Algorithm::NewReno, Algorithm::Cubic] {
        let (ours, theirs) = beside(1, algorithm, bottleneck(20_000_000, 1.0), SECOND * 40);
        let share = ours / (ours + theirs);
        assert!((0.2..=0.8).contains(&share), "{algorithm:?}: {share}");
    }
}
