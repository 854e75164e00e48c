//! A table for tuning, on the links of the transport bench:
//! `cargo test -p quantum-proto --release --test simulation table -- --ignored --nocapture`
//!
//! `SIM_LINKS=L2,L3` chooses links, `SIM_SEED=n` the seed, `SIM_SECONDS=n` the time of each measurement. Nothing but the link takes time:
//! no CPU, no timer slack.

use std::{cell::Cell, env, fmt, rc::Rc, time::Duration};

use quantum_proto::{Flags, Stats};

use crate::{
    app::Kind,
    fairness::beside,
    flow::Algorithm,
    journal::{Journal, bytes_between, quantile},
    link::{Counters, LinkSpec, Loss},
    pair::{MS, Pair, SECOND, Setup},
    wire,
    world::{SERVER, Verdict},
};

/// The links by name, both directions alike.
pub(crate) fn links() -> Vec<(&'static str, LinkSpec)> {
    let link = |rtt: u32, mbit: u64, loss, queue| {
        LinkSpec::clean(MS * rtt / 2)
            .limited(mbit * 1_000_000, queue)
            .losing(loss)
    };
    let jittered = link(60, 30, Loss::Bernoulli(0.005), 1.0);
    vec![
        ("L0", link(20, 100, Loss::None, 1.0)),
        ("L1", link(40, 50, Loss::Bernoulli(0.01), 1.0)),
        ("L2", link(100, 20, Loss::Bernoulli(0.03), 1.0)),
        ("L3", link(200, 10, Loss::Bernoulli(0.1), 1.0)),
        ("L4", link(80, 20, Loss::bursts(0.02, 4.0), 1.0)),
        ("L5", link(20, 100, Loss::None, 10.0)),
        (
            "L6",
            LinkSpec {
                jitter: MS * 10,
                keeps_order: false,
                ..jittered
            },
        ),
    ]
}

fn number(name: &str, default: u64) -> u64 {
    env::var(name)
        .ok()
        .map_or(default, |value| value.parse().expect("a number"))
}

/// What a connection did after the first quarter of the time.
pub(crate) struct Measured {
    pub(crate) pair: Pair,
    /// Of the link from the client.
    pub(crate) link: Counters,
    /// Message bytes delivered each second.
    pub(crate) goodput: f64,
    pub(crate) stats: Stats,
    pub(crate) early: Stats,
}

pub(crate) fn measure(seed: u64, spec: &LinkSpec, time: Duration, rt: u32, bulk: bool) -> Measured {
    let setup = Setup::new(seed, spec.clone()).client(|app| {
        let app = if rt > 0 { app.rate(Kind::RT, rt, time) } else { app };
        if bulk { app.bulk(Kind::BULK, time) } else { app }
    });
    let mut pair = setup.start();
    pair.run_for(time / 4);
    let (counters, early, from) = (pair.world.links[0].counters, pair.client_stats(), pair.world.now);
    pair.run_for(time * 3 / 4);
    let (to, stats) = (pair.world.now, pair.client_stats());
    let link = pair.world.links[0].counters.since(&counters);
    let goodput = bytes_between(pair.server(), Kind::BULK, from, to) as f64 / to.since(from).as_secs_f64();
    pair.run_to_end(SECOND * 60);
    Measured {
        pair,
        link,
        goodput,
        stats,
        early,
    }
}

/// Milliseconds: median, 99th, 99.9th hundredth.
struct Latency(Vec<Duration>);

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |part| quantile(&self.0, part).as_secs_f64() * 1000.0;
        write!(f, "{:>6.1} {:>6.1} {:>6.1}", ms(0.5), ms(0.99), ms(0.999))
    }
}

fn latency(measured: &Measured) -> Latency {
    let journal: Journal = measured.pair.expect_complete().0;
    Latency(journal.of(Kind::RT.channel))
}

fn row(name: &str, spec: &LinkSpec, seed: u64, time: Duration) {
    let bulk = measure(seed, spec, time, 0, true);
    let fast = measure(seed, spec, time, 600, false);
    let slow = measure(seed, spec, time, 60, false);
    let mixed = measure(seed, spec, time, 60, true);
    let (ours, theirs) = beside(seed, Algorithm::Cubic, spec.clone(), time);
    let bdp = spec.rate as f64 / 8.0 * spec.delay.as_secs_f64() * 2.0;
    let mbit = |bytes: f64| bytes * 8.0 / 1e6;
    println!(
        "{name} | {:>6.2} {:>5.3} {:>5.2} {:>6.1} {:>5.2} | {} | {} | {} {:>6.2} {:>5.2} | {:>5.2} {:>5.2} | {:>4.2} {:>6.2}",
        mbit(bulk.goodput),
        bulk.goodput * 8.0 / spec.rate as f64,
        bulk.link.mean_queue() / bdp,
        bulk.link.tail_drops as f64 * 1000.0 / bulk.link.offered as f64,
        (bulk.stats.bytes_sent - bulk.early.bytes_sent) as f64
            / (bulk.stats.message_bytes_sent - bulk.early.message_bytes_sent).max(1) as f64,
        latency(&slow),
        latency(&fast),
        latency(&mixed),
        mbit(mixed.goodput),
        mixed.link.mean_queue() / bdp,
        fast.stats.bytes_sent as f64 / (fast.stats.message_bytes_sent + fast.stats.messages_sent * 90) as f64,
        fast.stats.packets_sent as f64 / fast.stats.messages_sent as f64,
        ours / (ours + theirs),
        mbit(theirs),
    );
}

#[test]
#[ignore = "prints a table for tuning"]
fn table() {
    let (seed, time) = (number("SIM_SEED", 1), SECOND * number("SIM_SECONDS", 20) as u32);
    let wanted = env::var("SIM_LINKS").unwrap_or_default();
    println!("bulk: Mbit/s, part of the link, mean queue in BDP, drops per 1000, bytes sent per byte delivered;");
    println!("rt 60/s and 600/s alone, mixed (60/s, with bulk's Mbit/s and queue): ms p50 p99 p99.9;");
    println!("rt 600/s: bytes and packets sent per own; fair: part taken beside CUBIC, what CUBIC gets in Mbit/s");
    println!(
        "   | bulk                            | rt 60                | rt 600               | mixed                              | rt 600 x    | fair"
    );
    for (name, spec) in links() {
        if wanted.is_empty() || wanted.split(',').any(|wanted| wanted == name) {
            row(name, &spec, seed, time);
        }
    }
}

#[test]
fn bulk_uses_the_link_and_keeps_the_queue_short() {
    for (name, spec) in links()
        .into_iter()
        .filter(|(name, _)| ["L1", "L2", "L4"].contains(name))
    {
        let measured = measure(1, &spec, SECOND * 8, 0, true);
        let used = measured.goodput * 8.0 / spec.rate as f64;
        let bdp = spec.rate as f64 / 8.0 * spec.delay.as_secs_f64() * 2.0;
        let queue = measured.link.mean_queue() / bdp;
        let drops = measured.link.tail_drops as f64 / measured.link.offered as f64;
        let bound = 0.85 * (1.0 - spec.loss.average());
        assert!(used >= bound, "{name}: {used:.3} of the link\n{:?}", measured.stats);
        assert!(queue <= 0.5, "{name}: a queue of {queue:.2} BDP");
        assert!(drops <= 0.01, "{name}: {drops:.4} dropped at the queue's tail");
    }
}

/// Packets of the server, which only acknowledges bulk, with ECE in their header.
fn echoes(mark_above: u64) -> u32 {
    let link = LinkSpec {
        mark_above,
        ..LinkSpec::clean(MS * 20).limited(10_000_000, 1.0)
    };
    let mut built = Setup::new(1, link).client(|app| app.bulk(Kind::BULK, SECOND)).build();
    let count = Rc::new(Cell::new(0));
    let counted = Rc::clone(&count);
    built.world.tap = Some(Box::new(move |_, datagram| {
        let echoes = datagram.from == SERVER && wire::packets(&datagram.bytes).any(|packet| packet.has(Flags::ECE));
        counted.set(counted.get() + u32::from(echoes));
        Verdict::PASS
    }));
    built.connect().run_to_end(SECOND * 5);
    count.get()
}

#[test]
fn a_mark_shows_in_the_header_of_the_answer() {
    assert_eq!(echoes(u64::MAX), 0);
    assert!(echoes(10_000) > 0);
}
