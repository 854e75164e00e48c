//! The link model keeps its promises.

use std::time::Duration;

use quantum_proto::Time;

use crate::link::{Link, LinkSpec, Loss};

const MS: Duration = Duration::from_millis(1);

fn millis(ms: u64) -> Time {
    Time::ZERO + MS * ms as u32
}

#[test]
fn loss_has_the_average_and_the_burst_length_it_was_given() {
    for (loss, average, length) in [
        (Loss::Bernoulli(0.03), 0.03, 1.03),
        (Loss::bursts(0.05, 4.0), 0.05, 4.0),
    ] {
        let mut link = Link::new(LinkSpec::clean(MS).losing(loss), 7);
        let fates: Vec<bool> = (0..300_000).map(|i| link.offer(millis(i), 100).is_empty()).collect();
        let lost = fates.iter().filter(|lost| **lost).count();
        let bursts = fates.windows(2).filter(|pair| !pair[0] && pair[1]).count();
        let (rate, mean) = (lost as f64 / fates.len() as f64, lost as f64 / bursts as f64);
        assert!((rate - average).abs() < average * 0.1, "{loss:?}: {rate}");
        assert!((mean - length).abs() < length * 0.1, "{loss:?}: bursts of {mean}");
        assert!((loss.average() - average).abs() < 1e-9);
        assert_eq!(link.counters.lost as usize, lost);
    }
}

#[test]
fn the_bottleneck_spaces_datagrams_and_drops_what_does_not_fit() {
    // 10 Mbit/s: 1,500 bytes with their headers take 1.2 ms; ten fit.
    let spec = LinkSpec {
        rate: 10_000_000,
        queue: 15_000,
        ..LinkSpec::clean(MS * 5)
    };
    let mut link = Link::new(spec, 1);
    let arrivals: Vec<Time> = (0..1000)
        .flat_map(|_| link.offer(Time::ZERO, 1472))
        .map(|arrival| arrival.at)
        .collect();
    assert_eq!(arrivals.len(), 10);
    assert_eq!(arrivals[0], Time::from_nanos(6_200_000));
    assert!(
        arrivals
            .windows(2)
            .all(|pair| pair[1].since(pair[0]) == Duration::from_micros(1200))
    );
    assert_eq!(link.counters.tail_drops, 990);
    // It is empty again after 12 ms.
    assert_eq!(link.offer(millis(12), 1472)[0].at, Time::from_nanos(18_200_000));
}

#[test]
fn a_long_queue_marks() {
    let spec = LinkSpec {
        rate: 10_000_000,
        mark_above: 3_000,
        ..LinkSpec::clean(MS)
    };
    let mut link = Link::new(spec, 1);
    let marks: Vec<bool> = (0..5).map(|_| link.offer(Time::ZERO, 1472)[0].mark).collect();
    assert_eq!(marks, [false, false, false, true, true]);
}

#[test]
fn jitter_keeps_the_order_unless_it_may_not() {
    for keeps_order in [true, false] {
        let spec = LinkSpec {
            jitter: MS * 10,
            keeps_order,
            ..LinkSpec::clean(MS)
        };
        let mut link = Link::new(spec, 3);
        let arrivals: Vec<Time> = (0..1000)
            .map(|i| link.offer(Time::from_nanos(i * 100_000), 100)[0].at)
            .collect();
        assert_eq!(arrivals.windows(2).all(|pair| pair[0] <= pair[1]), keeps_order);
        assert!(
            arrivals
                .iter()
                .enumerate()
                .all(|(i, at)| *at >= Time::from_nanos(i as u64 * 100_000) + MS)
        );
    }
}

#[test]
fn duplication_damage_and_reordering_happen_as_often_as_asked() {
    let spec = LinkSpec {
        duplicate: 0.1,
        corrupt: 0.2,
        reorder: 0.05,
        reorder_by: MS * 50,
        ..LinkSpec::clean(MS)
    };
    let mut link = Link::new(spec, 5);
    let mut late = 0;
    for i in 0..10_000 {
        for arrival in link.offer(millis(i), 100) {
            late += u32::from(arrival.at.since(millis(i)) == MS * 51);
            assert!(arrival.flipped.is_none_or(|bit| bit < 800));
        }
    }
    let near = |got: u64, want: f64| (got as f64 - want).abs() < want * 0.15;
    assert!(near(link.counters.duplicated, 1_000.0));
    assert!(near(link.counters.corrupted, 2_200.0));
    assert!(near(late.into(), 550.0));
    assert_eq!(link.counters.delivered, 10_000 + link.counters.duplicated);
}

#[test]
fn nothing_passes_in_a_blackout_or_above_the_mtu() {
    let spec = LinkSpec {
        blackouts: vec![(millis(10), millis(20))],
        mtu: 1300,
        ..LinkSpec::clean(MS)
    };
    let mut link = Link::new(spec, 1);
    let passed: Vec<u64> = (0..30).filter(|i| !link.offer(millis(*i), 1300).is_empty()).collect();
    assert_eq!(passed, (0..10).chain(20..30).collect::<Vec<_>>());
    assert!(link.offer(millis(40), 1301).is_empty());
    assert_eq!((link.counters.blacked_out, link.counters.oversize), (10, 1));
}

#[test]
fn the_same_seed_gives_the_same_fates() {
    let spec = LinkSpec {
        jitter: MS * 3,
        corrupt: 0.01,
        duplicate: 0.01,
        ..LinkSpec::clean(MS)
            .limited(5_000_000, 8.0)
            .losing(Loss::bursts(0.02, 4.0))
    };
    let run = |seed| {
        let mut link = Link::new(spec.clone(), seed);
        (0..5000).map(|i| link.offer(millis(i), 700)).collect::<Vec<_>>()
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}
