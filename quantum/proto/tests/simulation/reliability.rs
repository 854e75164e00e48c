//! A thousand random networks: every message arrives exactly once, whole, in order, soon enough, within the limits of memory.

use std::time::Duration;

use quantum_proto::{ChannelId, Delivery, Priority, Time};
use rand::{Rng, SeedableRng, rngs::StdRng};

use crate::{
    app::{App, Job, Kind},
    journal::Journal,
    link::{LinkSpec, Loss},
    pair::{MS, Pair, SECOND, Setup},
    sweep::seeds,
};

/// Bytes that each side may have queued, and that the other may hold, in the sweep.
const SEND_BUFFER: usize = 64 << 10;
const WINDOW: u32 = 128 << 10;
const LARGEST: usize = 8 << 10;

/// Evenly spread over the orders of magnitude.
fn log_uniform(rng: &mut StdRng, from: f64, to: f64) -> f64 {
    (rng.random_range(from.ln()..to.ln())).exp()
}

fn random_loss(rng: &mut StdRng) -> Loss {
    match rng.random_range(0..4) {
        0 => Loss::None,
        1 => Loss::bursts(rng.random_range(0.005..0.1), rng.random_range(1.5..6.0)),
        _ => Loss::Bernoulli(log_uniform(rng, 0.001, 0.2)),
    }
}

/// Both directions have the delay in common.
fn random_link(rng: &mut StdRng, delay: Duration) -> LinkSpec {
    let rate = log_uniform(rng, 0.2e6, 100e6);
    let clean = LinkSpec::clean(delay).limited(rate as u64, rng.random_range(0.5..4.0));
    let sometimes = |rng: &mut StdRng, most: f64| {
        let probability = rng.random_range(0.0..most);
        if rng.random_bool(0.3) { probability } else { 0.0 }
    };
    let jittered = rng.random_bool(0.4);
    LinkSpec {
        queue: clean.queue.max(15_000),
        jitter: if jittered {
            delay.mul_f64(rng.random_range(0.0..0.5))
        } else {
            Duration::ZERO
        },
        keeps_order: rng.random_bool(0.5),
        reorder: sometimes(rng, 0.1),
        reorder_by: delay.mul_f64(rng.random_range(0.0..1.0)),
        duplicate: sometimes(rng, 0.1),
        corrupt: sometimes(rng, 0.03),
        mark_above: if rng.random_bool(0.2) { 10_000 } else { u64::MAX },
        loss: random_loss(rng),
        ..clean
    }
}

/// Messages of all kinds, as many bytes as the link carries in two seconds at the most.
fn random_jobs(rng: &mut StdRng, link: &LinkSpec) -> Vec<Job> {
    let budget = (link.rate / 4).min(300_000) as usize;
    let count = rng.random_range(25..=100);
    let mut at = Duration::ZERO;
    (0..count)
        .map(|_| {
            if rng.random_bool(0.5) {
                at += MS * rng.random_range(0..40);
            }
            let most = (budget / count * 4).clamp(100, LARGEST);
            let kind = Kind {
                channel: ChannelId(rng.random_range(0..8)),
                delivery: if rng.random_bool(0.6) {
                    Delivery::Ordered
                } else {
                    Delivery::Unordered
                },
                priority: [Priority::Interactive, Priority::Normal, Priority::Bulk][rng.random_range(0..3)],
                len: if rng.random_bool(0.6) {
                    rng.random_range(0..100)
                } else {
                    rng.random_range(0..most)
                },
            };
            Job { at, kind }
        })
        .collect()
}

/// The longest that nothing may be delivered though something is due: the handshake's timers, which know no RTT yet, and some
/// rounds of the network at its slowest, more of them the more it loses (a repair may itself be lost, and timers double).
fn stall_bound(up: &LinkSpec, down: &LinkSpec) -> Duration {
    let slowest = |link: &LinkSpec| link.delay + link.jitter + link.reorder_by + link.queueing();
    let loss = |link: &LinkSpec| link.loss.average() + link.corrupt;
    let rounds = 8.0 + 150.0 * loss(up).max(loss(down));
    SECOND * 2 + (slowest(up) + slowest(down)).mul_f64(rounds)
}

fn check(way: &str, sender: &App, journal: &Journal, bound: Duration, pair: &Pair) {
    // The first messages wait for the handshake at the other side too: its bound is in the stall's.
    assert!(
        journal.stall <= bound,
        "{way}: nothing for {:?}, bound {bound:?}\n{}",
        journal.stall,
        pair.summary()
    );
    let limit = SEND_BUFFER + WINDOW as usize + LARGEST;
    assert!(
        journal.peak_outstanding <= limit,
        "{way}: {} bytes held\n{}",
        journal.peak_outstanding,
        pair.summary()
    );
    assert_eq!(journal.latencies.len(), sender.sent.len());
}

fn run(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let delay = Duration::from_secs_f64(log_uniform(&mut rng, 0.0005, 0.2));
    let (up, down) = (random_link(&mut rng, delay), random_link(&mut rng, delay));
    let (there, back) = (random_jobs(&mut rng, &up), random_jobs(&mut rng, &down));
    let messages = there.len() + back.len();
    let bound = stall_bound(&up, &down);
    let mut pair = Setup::new(seed, up)
        .down(down)
        .transport(|transport| {
            transport.send_buffer = SEND_BUFFER;
            transport.receive_window = WINDOW;
            transport.channel_window = WINDOW;
            transport.max_message = LARGEST as u32;
        })
        .client(|app| app.jobs(there))
        .server(|app| app.jobs(back))
        .start();
    pair.run_to_end(SECOND * 20 + bound * 4);
    let (up, down) = pair.expect_complete();
    check("up", pair.client(), &up, bound, &pair);
    check("down", pair.server(), &down, bound, &pair);
    assert_eq!(up.latencies.len() + down.latencies.len(), messages);
    assert!(pair.client_stats().in_flight <= SEND_BUFFER as u64 * 2);
}

#[test]
fn a_thousand_random_networks() {
    seeds(1000, run);
}

#[test]
fn echoes_come_back() {
    seeds(20, |seed| {
        let link = LinkSpec::clean(MS * 15)
            .limited(2_000_000, 2.0)
            .losing(Loss::Bernoulli(0.05));
        let mut pair = Setup::new(seed, link)
            .client(|app| app.rate(Kind::RT, 100, SECOND))
            .server(|app| app.echoing())
            .start();
        pair.run_to_end(SECOND * 5);
        assert_eq!(pair.client().received.len(), 100);
    });
}

#[test]
fn large_messages_and_small_ones_share_a_bad_link() {
    seeds(4, |seed| {
        let link = LinkSpec::clean(MS * 25)
            .limited(10_000_000, 1.0)
            .losing(Loss::bursts(0.03, 4.0));
        let large = Kind {
            len: 1 << 20,
            ..Kind::BULK
        };
        let mut pair = Setup::new(seed, link)
            .transport(|transport| transport.send_buffer = 4 << 20)
            .client(|app| app.bulk(large, SECOND).rate(Kind::RT, 60, SECOND * 2))
            .server(|app| app.bulk(large, SECOND))
            .start();
        pair.run_to_end(SECOND * 30);
        assert!(pair.server().received.len() > 120);
    });
}

#[test]
fn five_seconds_of_silence_lose_nothing() {
    seeds(8, |seed| {
        let end = Time::ZERO + SECOND * 7;
        let link = LinkSpec {
            blackouts: vec![(Time::ZERO + SECOND * 2, end)],
            ..LinkSpec::clean(MS * 20)
        };
        let mut pair = Setup::new(seed, link.limited(5_000_000, 1.0))
            .client(|app| app.bulk(Kind::BULK, SECOND * 10).rate(Kind::RT, 60, SECOND * 10))
            .server(|app| app.rate(Kind::RT, 60, SECOND * 10))
            .start();
        pair.run_to_end(SECOND * 30);
        // Timers double: the first probe after the silence comes after at most as long as it lasted.
        for app in [pair.client(), pair.server()] {
            let back = app
                .received
                .iter()
                .find(|record| record.at >= end)
                .expect("it came back")
                .at;
            assert!(back.since(end) <= SECOND * 6, "silent until {back}");
        }
    });
}
