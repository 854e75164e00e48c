//! What the transport is to reach on the links of the bench, as far as virtual time can tell: nothing here takes time but the links.
//!
//! Bounds are the goals themselves where they are absolute, otherwise the share of the best rival's figure that was aimed at, in numbers.

use std::{sync::Mutex, time::Duration};

use crate::{
    app::Kind,
    fairness::{beside, two_with_bulk},
    flow::Algorithm,
    journal::{bytes_between, quantile},
    link::LinkSpec,
    pair::{MS, SECOND, Setup},
    sweep::seeds,
    throughput::{links, measure},
    world::End,
};

fn link(name: &str) -> LinkSpec {
    let found = links().into_iter().find(|(other, _)| *other == name);
    found.expect("one of the bench's links").1
}

/// Fewer of the links that carry most packets.
fn several(name: &str) -> u64 {
    if link(name).rate > 50_000_000 { 1 } else { 3 }
}

/// Median and 99th hundredth of small messages, 60 a second, and bulk's Mbit/s beside them.
fn small(seed: u64, name: &str) -> (Duration, Duration, f64) {
    let measured = measure(seed, &link(name), SECOND * 20, 60, true);
    let sorted = measured.pair.expect_complete().0.of(Kind::RT.channel);
    (
        quantile(&sorted, 0.5),
        quantile(&sorted, 0.99),
        measured.goodput * 8.0 / 1e6,
    )
}

#[test]
fn small_messages_beside_bulk_are_soon_there() {
    for (name, half, most, bulk) in [
        ("L0", 13.5, 25.0, 91.0),
        ("L1", 24.0, 50.0, 43.7),
        ("L2", 56.0, 150.0, 17.0),
        ("L3", 134.0, 300.0, 7.6),
        ("L4", 55.0, 130.0, 17.0),
        ("L5", 13.5, 25.0, 91.0),
    ] {
        let medians = Mutex::new(Vec::new());
        seeds(several(name), |seed| {
            let (p50, p99, goodput) = small(seed, name);
            assert!(
                p99 <= MS.mul_f64(most) && goodput >= bulk,
                "{name}: {p50:?} {p99:?} {goodput:.2}"
            );
            medians.lock().unwrap().push(p50);
        });
        // Which losses a seed deals out moves the median of one by 2 ms either way.
        let medians = medians.into_inner().unwrap();
        let mean = medians.iter().sum::<Duration>() / medians.len() as u32;
        assert!(mean <= MS.mul_f64(half), "{name}: {mean:?} of {medians:?}");
    }
}

/// The first second, in which nothing is known of the path, holds most of what is late.
#[test]
fn a_dense_flow_of_small_messages_is_in_time_from_the_beginning() {
    for (name, most, rarely) in [
        ("L1", 22.0, 26.0),
        ("L2", 53.0, 62.0),
        ("L3", 125.0, 285.0),
        ("L4", 60.0, 155.0),
    ] {
        seeds(8, |seed| {
            let measured = measure(seed, &link(name), SECOND * 20, 600, false);
            let sorted = measured.pair.expect_complete().0.of(Kind::RT.channel);
            let [p99, p999] = [0.99, 0.999].map(|part| quantile(&sorted, part));
            assert!(
                p99 <= MS.mul_f64(most) && p999 <= MS.mul_f64(rarely),
                "{name}: {p99:?} {p999:?}"
            );
        });
    }
}

#[test]
fn bulk_uses_the_link_from_the_tenth_round_trip_on() {
    let link = LinkSpec::clean(MS * 20).limited(50_000_000, 1.0);
    seeds(4, |seed| {
        let mut pair = Setup::new(seed, link.clone())
            .client(|app| app.bulk(Kind::BULK, SECOND * 10))
            .start();
        let client = pair.client;
        pair.run_until(SECOND, "the handshake", |world| world.app(client).connected.is_some());
        pair.run_for(MS * 40 * 10);
        let mut used = |time: Duration| {
            let before = pair.world.links[0].counters;
            pair.run_for(time);
            let bytes = pair.world.links[0].counters.since(&before).offered_bytes;
            bytes as f64 * 8.0 / link.rate as f64 / time.as_secs_f64()
        };
        let (early, later) = (used(MS * 40 * 10), used(SECOND * 5));
        assert!(early >= 0.9 && later >= 0.95, "{early:.3} {later:.3}");
    });
}

#[test]
fn bulk_is_not_bought_with_queue_nor_with_overhead() {
    for (name, link) in links() {
        seeds(several(name), |seed| {
            let measured = measure(seed, &link, SECOND * 10, 0, true);
            let used = measured.goodput * 8.0 / link.rate as f64;
            let bdp = link.rate as f64 / 8.0 * link.delay.as_secs_f64() * 2.0;
            let queue = measured.link.mean_queue() / bdp;
            let drops = measured.link.tail_drops as f64 * 1000.0 / measured.link.offered as f64;
            let (sent, own) = (
                measured.stats.bytes_sent - measured.early.bytes_sent,
                measured.stats.message_bytes_sent - measured.early.message_bytes_sent,
            );
            let passes = 1.0 - link.loss.average();
            assert!(used >= 0.85 * passes, "{name}: {used:.3} of the link");
            // Where jitter reorders, round trips tell less of the queue.
            let most = if link.keeps_order { 0.25 } else { 0.3 };
            assert!(
                queue <= most && drops <= 10.0,
                "{name}: {queue:.2} BDP, {drops:.1} dropped"
            );
            let most = 1.08 / passes * own as f64;
            assert!(sent as f64 <= most, "{name}: {sent} bytes for {own}");
        });
    }
}

#[test]
fn a_share_is_held_beside_cubic_and_left_to_it() {
    for (name, range, least) in [
        ("L0", 0.35..=0.65, 35.0),
        ("L5", 0.25..=0.65, 35.0),
        ("L1", 0.5..=1.0, 2.0),
        ("L2", 0.5..=1.0, 0.34),
    ] {
        seeds(several(name), |seed| {
            let (ours, theirs) = beside(seed, Algorithm::Cubic, link(name), SECOND * 20);
            let share = ours / (ours + theirs);
            let theirs = theirs * 8.0 / 1e6;
            assert!(
                range.contains(&share) && theirs >= least,
                "{name}: {share:.2}, {theirs:.2} Mbit/s left"
            );
        });
    }
}

/// Part of the first of two connections, of which the second begins two seconds later, from 20 to 40 seconds after that.
fn part_of_the_first(seed: u64, link: LinkSpec) -> f64 {
    let mut world = two_with_bulk(seed, link, SECOND * 2);
    world.run_for(SECOND * 18);
    let from = world.now;
    world.run_for(SECOND * 20);
    let bytes = [0, 1].map(|slot| bytes_between(world.app(End { host: 0, slot }), Kind::BULK, from, world.now));
    bytes[0] as f64 / (bytes[0] + bytes[1]) as f64
}

#[test]
fn a_later_connection_gets_its_half() {
    // Where much is lost at random a probe tells less, and shares swing more.
    for (name, most) in [("L0", 0.6), ("L1", 0.6), ("L2", 0.65)] {
        seeds(several(name), |seed| {
            let part = part_of_the_first(seed, link(name));
            assert!((0.4..=most).contains(&part), "{name}: {part:.3}");
        });
    }
}

#[test]
fn a_clean_flow_is_acknowledged_as_rarely_as_it_may_be() {
    let link = LinkSpec::clean(MS * 20).limited(100_000_000, 2.0);
    let mut pair = Setup::new(1, link)
        .client(|app| app.bulk(Kind::BULK, SECOND * 9))
        .start();
    pair.run_for(SECOND * 3);
    let before = (pair.client_stats(), pair.server_stats());
    pair.run_for(SECOND * 5);
    let data = pair.client_stats().packets_sent - before.0.packets_sent;
    let acks = pair.server_stats().packets_sent - before.1.packets_sent;
    assert!(data > 30_000, "{data} packets");
    // One for ten is the most that a receiver lets wait.
    assert!(acks * 7 < data, "{acks} packets acknowledge {data}");
}
