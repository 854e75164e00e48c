//! How soon small messages arrive.

use std::time::Duration;

use quantum_proto::{Flags, Time};

use crate::{
    app::Kind,
    host::Datagram,
    journal::{Journal, quantile},
    link::{LinkSpec, Loss},
    pair::{CLIENT, MS, Pair, SECOND, Setup},
    sweep::seeds,
    wire,
    world::{Verdict, World},
};

/// 100 ms there and back.
fn far(loss: Loss) -> LinkSpec {
    LinkSpec::clean(MS * 50).limited(20_000_000, 1.0).losing(loss)
}

/// Small messages for ten seconds on a link that loses, which then stops to lose; half a second later all is quiet.
fn experienced(seed: u64) -> Pair {
    let mut pair = Setup::new(seed, far(Loss::Bernoulli(0.05)))
        .client(|app| app.rate(Kind::RT, 60, SECOND * 10))
        .start();
    pair.run_for(SECOND * 11);
    pair.run_to_end(SECOND * 5);
    pair.world.links.iter_mut().for_each(|link| link.spec.loss = Loss::None);
    pair.run_for(MS * 500);
    pair
}

#[test]
fn a_lone_message_that_is_lost_is_repaired_at_once() {
    for seed in 0..5 {
        let mut pair = experienced(seed);
        let mut dropped = false;
        pair.world.tap = Some(Box::new(move |_, datagram| {
            let urgent = wire::packets(&datagram.bytes).any(|packet| packet.has(Flags::URG));
            let drop = datagram.from == CLIENT && urgent && !dropped;
            dropped |= drop;
            Verdict {
                pass: !drop,
                ..Verdict::PASS
            }
        }));
        let (client, sent) = (pair.client, pair.world.now);
        pair.world.act(client, |now, _, app| app.push(now, Kind::RT));
        pair.run_to_end(SECOND * 5);
        let latency = pair.server().received.last().unwrap().at.since(sent);
        assert!(latency <= MS * 60, "seed {seed}: {latency:?}\n{}", pair.summary());
        assert!(latency > MS * 51, "nothing was dropped");
    }
}

#[test]
fn without_loss_nothing_is_protected() {
    // On the second link probes of the packet size are lost: that is no loss.
    for mtu in [1472, 1400] {
        let link = LinkSpec { mtu, ..far(Loss::None) };
        let mut pair = Setup::new(1, link)
            .client(|app| app.rate(Kind::RT, 100, SECOND * 10))
            .start();
        pair.run_to_end(SECOND * 12);
        let stats = pair.client_stats();
        assert_eq!((stats.parity_sent, stats.repeated_bytes), (0, 0), "{mtu}");
        assert_eq!(stats.packets_lost > 0, mtu == 1400);
        assert_eq!(stats.loss, 0.0, "{mtu}");
        let sorted = pair.expect_complete().0.of(Kind::RT.channel);
        assert!(quantile(&sorted, 1.0) <= MS * 51);
    }
}

#[test]
fn protection_beats_retransmission_and_keeps_its_budget() {
    seeds(4, |seed| {
        let mut pair = Setup::new(seed, far(Loss::Bernoulli(0.03)))
            .client(|app| app.rate(Kind::RT, 200, SECOND * 20))
            .start();
        pair.run_to_end(SECOND * 25);
        let (stats, journal) = (pair.client_stats(), pair.expect_complete().0);
        // A retransmission takes 150 ms and more. The first seconds, in which loss is learned, are left out.
        let learned = |sent: Time| sent > Time::ZERO + SECOND * 4;
        let mut late: Vec<Duration> = journal
            .latencies
            .iter()
            .filter(|(record, _)| learned(record.at))
            .map(|(_, latency)| *latency)
            .collect();
        late.sort_unstable();
        assert!(quantile(&late, 0.99) <= MS * 80, "p99 {:?}", quantile(&late, 0.99));
        let own = stats.message_bytes_sent + stats.packets_sent * 90;
        assert!(stats.bytes_sent <= own * 3, "{stats:?}");
        assert!(stats.packets_sent * 100 <= stats.messages_sent * 160, "{stats:?}");
    });
}

/// 600 messages a second over 200 ms; the client's packets are counted and given their fates.
fn dense(fate: fn(u64, &Datagram) -> Verdict) -> Pair {
    let mut pair = Setup::new(1, LinkSpec::clean(MS * 100).limited(10_000_000, 1.0))
        .client(|app| app.rate(Kind::RT, 600, SECOND * 2))
        .start();
    pair.run_for(MS * 600);
    let mut count = 0;
    pair.world.tap = Some(Box::new(move |_, datagram| {
        if datagram.from != CLIENT {
            return Verdict::PASS;
        }
        count += 1;
        fate(count, datagram)
    }));
    pair.run_to_end(SECOND * 5);
    pair
}

/// It arrives so much later than it would.
fn overtaken(by: Duration, datagram: &Datagram) -> Verdict {
    Verdict {
        pass: false,
        ..Verdict::and(MS * 100 + by, datagram.clone())
    }
}

#[test]
fn what_was_in_flight_at_the_first_loss_is_rescued() {
    // The second is lost 100 ms after the first, and so 100 ms before the report of that.
    let pair = dense(|number, _| match number {
        10 | 70 => Verdict::DROP,
        _ => Verdict::PASS,
    });
    let late: Vec<Duration> = pair
        .expect_complete()
        .0
        .of(Kind::RT.channel)
        .into_iter()
        .filter(|latency| *latency > MS * 120)
        .collect();
    // 25 ms for doubt and for spreading the copies; by retransmission it would be 305.
    assert_eq!(late.len(), 2, "{late:?}");
    assert!(late[0] <= MS * 240 && late[1] >= MS * 300, "{late:?}");
    // A copy of what was in flight, once, and the repetitions of what followed.
    let stats = pair.client_stats();
    assert!(stats.bytes_sent <= stats.message_bytes_sent * 3, "{stats:?}");
}

#[test]
fn a_packet_that_is_overtaken_rescues_nothing() {
    let pair = dense(|number, datagram| match number {
        10 | 70 => overtaken(MS * 9, datagram),
        _ => Verdict::PASS,
    });
    let stats = pair.client_stats();
    assert!(stats.packets_spurious > 0, "{stats:?}");
    // Those few that went out while it was missing; a rescue would be of 20,000 bytes.
    assert!(stats.repeated_bytes < 6_000, "{stats:?}");
}

#[test]
fn a_rescue_that_copied_nothing_leaves_the_next_its_turn() {
    let pair = dense(|number, datagram| match number {
        10 => overtaken(MS * 9, datagram),
        300 | 360 => Verdict::DROP,
        _ => Verdict::PASS,
    });
    let latencies = pair.expect_complete().0.of(Kind::RT.channel);
    let late: Vec<Duration> = latencies.into_iter().filter(|latency| *latency > MS * 120).collect();
    // The second was in flight at the report of the first; by retransmission it would take 305 ms as well.
    assert_eq!(late.len(), 2, "{late:?}");
    assert!(late[0] <= MS * 240 && late[1] >= MS * 300, "{late:?}");
}

#[test]
fn however_often_reordering_turns_protection_on_there_is_one_rescue() {
    let pair = dense(|number, datagram| match number {
        // Each time by more than the threshold that the time before taught.
        10..1_000 if number % 80 == 10 => overtaken(MS * 25 * (number / 80 + 1) as u32, datagram),
        _ => Verdict::PASS,
    });
    let stats = pair.client_stats();
    assert!(stats.packets_spurious >= 10, "{stats:?}");
    // One rescue is of 20,000 to 30,000 bytes; the rest are repetitions of what went out while there was doubt.
    assert!(stats.repeated_bytes < 40_000, "{stats:?}");
}

#[test]
fn a_rescue_leaves_a_small_bottleneck_its_room() {
    // About 120 % of what the link takes, and a queue that holds all of it for a while.
    let link = LinkSpec::clean(MS * 100).limited(1_000_000, 4.0);
    seeds(4, |seed| {
        let mut pair = Setup::new(seed, link.clone())
            .client(|app| app.rate(Kind::RT, 530, SECOND * 10))
            .start();
        let client = pair.client;
        let stats = |world: &World| world.slot(client).conn.stats();
        pair.run_for(SECOND);
        pair.run_until(SECOND * 9, "the window is full", |world| {
            stats(world).in_flight * 10 >= stats(world).congestion_window * 9
        });
        let mut lost = false;
        pair.world.tap = Some(Box::new(move |_, datagram| {
            let drop = datagram.from == CLIENT && !lost;
            lost |= drop;
            Verdict {
                pass: !drop,
                ..Verdict::PASS
            }
        }));
        pair.run_until(SECOND * 2, "the loss is known", |world| stats(world).packets_lost > 0);
        let (from, rtt) = (pair.world.now, pair.client_stats().rtt);
        while pair.world.now < from + rtt {
            let stats = pair.client_stats();
            // Repetitions of what protection has repeated already, and what controls, are not held back.
            let most = stats.congestion_window * 3 / 2 + 4 * u64::from(stats.mtu);
            assert!(stats.in_flight <= most, "seed {seed}: {stats:?}");
            pair.run_for(MS);
        }
        assert!(pair.client_stats().repeated_bytes > 0, "nothing was copied");
    });
}

#[test]
fn a_small_message_does_not_wait_behind_large_ones() {
    let link = LinkSpec::clean(MS * 20).limited(10_000_000, 1.0);
    let mut pair = Setup::new(1, link)
        .client(|app| app.rate(Kind::RT, 60, SECOND * 10).bulk(Kind::BULK, SECOND * 10))
        .start();
    pair.run_to_end(SECOND * 20);
    let sorted = pair.expect_complete().0.of(Kind::RT.channel);
    let (half, most) = (quantile(&sorted, 0.5), quantile(&sorted, 0.99));
    // The send buffer holds most of a second of bulk; the network's queue at its longest 40 ms.
    assert!(half <= MS * 40, "p50 {half:?}");
    assert!(most <= MS * 75, "p99 {most:?}");
    let bulk = pair.bulk_bits();
    assert!(bulk >= 80_000_000, "bulk starved: {bulk} bits");
}

#[test]
fn a_lost_message_holds_up_its_own_channel_only() {
    let mut pair = Setup::new(1, far(Loss::None))
        .transport(|transport| transport.protection = false)
        .client(|app| {
            let ordered = |channel| Kind {
                channel: quantum_proto::ChannelId(channel),
                delivery: quantum_proto::Delivery::Ordered,
                ..Kind::RT
            };
            app.rate(ordered(3), 20, SECOND * 2).rate(ordered(4), 19, SECOND * 2)
        })
        .start();
    pair.run_for(SECOND);
    let mut dropped = false;
    pair.world.tap = Some(Box::new(move |_, datagram| {
        let drop = datagram.from == CLIENT && datagram.bytes.len() > 200 && !dropped;
        dropped |= drop;
        Verdict {
            pass: !drop,
            ..Verdict::PASS
        }
    }));
    pair.run_to_end(SECOND * 5);
    let journal: Journal = pair.expect_complete().0;
    let slowest = |channel| quantile(&journal.of(quantum_proto::ChannelId(channel)), 1.0);
    let (one, other) = (slowest(3).max(slowest(4)), slowest(3).min(slowest(4)));
    assert!(one >= MS * 150 && one <= MS * 320, "{one:?}");
    assert!(other <= MS * 51, "{other:?}");
}
