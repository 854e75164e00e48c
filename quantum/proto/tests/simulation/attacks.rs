//! An attacker on the path, who sees and makes datagrams but has no keys: whatever it adds changes nothing, and is counted.

use std::{net::SocketAddr, time::Duration};

use quantum_proto::{ChannelId, Delivery, Flags, Priority, Time};
use rand::{Rng, SeedableRng, rngs::StdRng};

use crate::{
    app::{Job, Kind},
    host::Datagram,
    link::LinkSpec,
    pair::{CLIENT, MS, Pair, SECOND, Setup},
    sweep::seeds,
    wire,
    world::{SERVER, Tap, Verdict},
};

/// Where the attacker pretends to be: nobody answers there.
const VICTIM: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7)), 4000);

/// Two seconds of all sorts of messages both ways, under attack.
fn under_attack(seed: u64, attack: impl FnOnce(StdRng) -> Tap) -> Pair {
    let jobs = |offset: u32| {
        (0..100u32).map(move |i| Job {
            at: MS * (i * 20 + offset),
            kind: Kind {
                channel: ChannelId(i % 4),
                delivery: if i % 3 == 0 {
                    Delivery::Unordered
                } else {
                    Delivery::Ordered
                },
                priority: if i % 2 == 0 {
                    Priority::Interactive
                } else {
                    Priority::Normal
                },
                len: (i * 131 % 4000) as usize,
            },
        })
    };
    let link = LinkSpec::clean(MS * 20).limited(10_000_000, 2.0);
    let mut built = Setup::new(seed, link)
        .client(|app| app.jobs(jobs(0)))
        .server(|app| app.jobs(jobs(7)))
        .build();
    built.world.tap = Some(attack(StdRng::seed_from_u64(seed)));
    let mut pair = built.connect();
    pair.run_to_end(SECOND * 10);
    for app in [pair.client(), pair.server()] {
        assert_eq!(app.closed, None, "{}", pair.summary());
    }
    pair
}

/// The same datagram with other bytes.
fn altered(datagram: &Datagram, alter: impl FnOnce(&mut Vec<u8>)) -> Datagram {
    let mut copy = datagram.clone();
    alter(&mut copy.bytes);
    copy
}

fn is_application(datagram: &Datagram) -> bool {
    wire::first(&datagram.bytes).is_some_and(|clear| clear.is_application())
}

#[test]
fn replays_are_known_as_duplicates() {
    seeds(10, |seed| {
        let pair = under_attack(seed, |mut rng| {
            Box::new(move |_, datagram| Verdict {
                pass: true,
                inject: (0..2)
                    .map(|_| (MS * rng.random_range(1..800), datagram.clone()))
                    .collect(),
            })
        });
        for stats in [pair.client_stats(), pair.server_stats()] {
            assert!(stats.packets_duplicate > 50, "{stats:?}");
        }
        assert_eq!(pair.world.hosts[0].slots.len(), 1, "a replay began a connection");
    });
}

#[test]
fn flipped_bits_are_rejected() {
    seeds(20, |seed| {
        let pair = under_attack(seed, |mut rng| {
            Box::new(move |_, datagram| {
                let bit = rng.random_range(0..datagram.bytes.len() * 8);
                // The damaged copy overtakes the real one.
                Verdict::and(MS, altered(datagram, |bytes| bytes[bit / 8] ^= 1 << (bit % 8)))
            })
        });
        for stats in [pair.client_stats(), pair.server_stats()] {
            assert!(stats.packets_rejected > 50, "{stats:?}");
        }
    });
}

#[test]
fn truncated_and_lengthened_datagrams_are_ignored() {
    seeds(10, |seed| {
        let pair = under_attack(seed, |mut rng| {
            Box::new(move |_, datagram| {
                let len = rng.random_range(0..datagram.bytes.len() + 50);
                Verdict::and(MS, altered(datagram, |bytes| bytes.resize(len, 0)))
            })
        });
        assert!(pair.world.hosts.iter().all(|host| host.ignored > 50));
    });
}

#[test]
fn a_reordering_attacker_only_delays() {
    seeds(10, |seed| {
        under_attack(seed, |mut rng| {
            Box::new(move |_, datagram| Verdict {
                pass: false,
                inject: vec![(MS * rng.random_range(20..120), datagram.clone())],
            })
        });
    });
}

#[test]
fn noise_from_anywhere_is_ignored() {
    let pair = under_attack(1, |mut rng| {
        Box::new(move |_, datagram| {
            let mut bytes = vec![0; rng.random_range(0..1400)];
            rng.fill(&mut bytes[..]);
            if rng.random_bool(0.5) && bytes.len() > wire::HEADER {
                // With the right magic, version, connection id and length.
                let len = (bytes.len() - wire::HEADER) as u16;
                bytes[..5].copy_from_slice(&datagram.bytes[..5]);
                bytes[6..22].copy_from_slice(&datagram.bytes[6..22]);
                bytes[30..32].copy_from_slice(&len.to_be_bytes());
            }
            let from = if rng.random_bool(0.5) { VICTIM } else { datagram.from };
            Verdict::and(
                MS,
                Datagram {
                    from,
                    to: datagram.to,
                    ecn: None,
                    bytes,
                },
            )
        })
    });
    assert_eq!((pair.client().moves, pair.server().moves), (0, 0));
    assert!(pair.world.hosts.iter().all(|host| host.ignored > 20));
    assert!(pair.server_stats().packets_rejected > 20);
}

#[test]
fn old_packets_from_another_address_move_nothing() {
    let pair = under_attack(1, |_| {
        Box::new(|_, datagram| match datagram.to == SERVER {
            true => Verdict::and(
                MS * 50,
                Datagram {
                    from: VICTIM,
                    ..datagram.clone()
                },
            ),
            false => Verdict::PASS,
        })
    });
    assert_eq!(pair.server().moves, 0);
    assert!(pair.world.traffic[&VICTIM].sent <= 3 * pair.world.traffic[&VICTIM].received);
    assert!(pair.server_stats().packets_duplicate > 50);
}

#[test]
fn only_the_client_may_move() {
    let pair = under_attack(1, |_| {
        Box::new(|_, datagram| match datagram.to == CLIENT && is_application(datagram) {
            // The copy arrives first, and is genuine but for its source.
            true => Verdict::and(
                MS,
                Datagram {
                    from: VICTIM,
                    ..datagram.clone()
                },
            ),
            false => Verdict::PASS,
        })
    });
    assert_eq!(pair.client().moves, 0);
}

#[test]
fn a_relay_that_is_faster_than_the_path_cannot_keep_the_connection_nor_aim_it_at_others() {
    for victim_hears in [Duration::ZERO, SECOND] {
        let pair = under_attack(1, |_| {
            Box::new(move |now, datagram| {
                let taken = datagram.to == SERVER && is_application(datagram);
                match taken && now < Time::ZERO + MS * 200 + victim_hears {
                    true => Verdict::and(
                        MS,
                        Datagram {
                            from: VICTIM,
                            ..datagram.clone()
                        },
                    ),
                    false => Verdict::PASS,
                }
            })
        });
        let traffic = pair.world.traffic[&VICTIM];
        assert!(
            traffic.received > 0 && traffic.sent <= 3 * traffic.received,
            "{traffic:?}"
        );
        assert_eq!(
            pair.world.slot(crate::pair::ACCEPTED).conn.remote(),
            CLIENT,
            "it came back"
        );
    }
}

#[test]
fn forged_resets_end_nothing() {
    under_attack(1, |mut rng| {
        Box::new(move |_, datagram| {
            let clear = wire::first(&datagram.bytes).unwrap();
            let len = rng.random_range(16..200u16);
            let mut bytes = wire::Clear {
                flags: Flags::RST.0,
                len,
                ..clear
            }
            .write();
            bytes.extend((0..len).map(|_| rng.random::<u8>()));
            Verdict::and(
                MS,
                Datagram {
                    bytes,
                    ..datagram.clone()
                },
            )
        })
    });
}

#[test]
fn swallowing_every_second_acknowledgement_only_costs_time() {
    under_attack(1, |_| {
        let mut count = 0;
        Box::new(move |_, datagram| {
            count += u32::from(datagram.bytes.len() < 150);
            Verdict {
                pass: datagram.bytes.len() >= 150 || count % 2 == 0,
                ..Verdict::PASS
            }
        })
    });
}
