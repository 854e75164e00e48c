//! A seed is worth nothing unless it decides everything: this comes before all other tests.

use quantum_proto::{ChannelId, Delivery, Priority};

use crate::{
    app::{Job, Kind},
    flow::Algorithm,
    link::{LinkSpec, Loss},
    pair::{MS, SECOND, Setup},
    world::World,
};

fn link() -> LinkSpec {
    LinkSpec {
        jitter: MS * 5,
        keeps_order: false,
        duplicate: 0.02,
        corrupt: 0.02,
        ..LinkSpec::clean(MS * 20)
            .limited(4_000_000, 2.0)
            .losing(Loss::bursts(0.04, 3.0))
    }
}

fn trace(seed: u64) -> (u64, u64) {
    let jobs = (0..100u32).map(|i| Job {
        at: MS * (i * 7),
        kind: Kind {
            channel: ChannelId(i % 5),
            delivery: if i % 3 == 0 {
                Delivery::Unordered
            } else {
                Delivery::Ordered
            },
            priority: if i % 4 == 0 {
                Priority::Interactive
            } else {
                Priority::Normal
            },
            len: (i * 97 % 3000) as usize,
        },
    });
    let mut pair = Setup::new(seed, link())
        .client(|app| app.jobs(jobs))
        .server(|app| app.echoing())
        .start();
    pair.run_for(SECOND * 10);
    pair.expect_complete();
    pair.world.trace.digest()
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 0..10 {
        assert_eq!(trace(seed), trace(seed), "seed {seed}");
    }
    assert_ne!(trace(1), trace(2));
}

#[test]
fn background_flows_are_determined_by_the_seed() {
    let run = |seed| {
        let mut world = World::new(seed);
        let (up, down) = (world.link(link()), world.link(link()));
        let flow = world.flow(Algorithm::Cubic, up, down);
        world.run_for(SECOND * 10);
        (
            world.flows[flow].delivered,
            world.links[up].counters,
            world.links[down].counters,
        )
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}
