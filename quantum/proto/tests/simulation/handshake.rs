//! Three flights: how fast they are, what they survive, and whom they refuse.

use std::{cell::RefCell, rc::Rc};

use quantum_proto::{CloseCode, ConnectionError, Flags, SendError, Time};
use rustls::Side;

use crate::{
    app::{App, Kind},
    link::{LinkSpec, Loss},
    pair::{ACCEPTED, CLIENT, MS, Pair, SECOND, Setup},
    sweep::seeds,
    tls, wire,
    world::{End, SERVER, Verdict},
};

/// 40 ms there and back.
fn link() -> LinkSpec {
    LinkSpec::clean(MS * 20)
}

fn connected(world: &crate::world::World, end: End) -> bool {
    world.hosts[end.host]
        .slots
        .get(end.slot)
        .is_some_and(|slot| slot.app.connected.is_some())
}

#[test]
fn the_first_message_takes_one_and_a_half_round_trips() {
    let mut pair = Setup::new(1, link()).client(|app| app.one(Kind::RT)).start();
    pair.run_to_end(SECOND);
    let arrived = pair.server().received[0].at;
    assert!((60..=62).contains(&(arrived.as_nanos() / 1_000_000)), "{arrived}");
    assert_eq!(pair.client().connected.unwrap().as_nanos() / 1_000_000, 40);
}

#[test]
fn the_server_may_speak_first() {
    let mut pair = Setup::new(1, link()).server(|app| app.one(Kind::RT)).start();
    pair.run_to_end(SECOND);
    // Once it knows the client.
    assert!(pair.client().received[0].at.as_nanos() <= 82_000_000);
}

/// Connects, is given tickets, closes; then everything is drained.
fn visited(setup: Setup) -> Pair {
    let mut pair = setup.start();
    pair.world.checks_amplification = false;
    pair.run_to_end(SECOND);
    pair.run_for(SECOND);
    let client = pair.client;
    pair.world
        .act(client, |now, conn, _| conn.close(now, CloseCode::NO_ERROR, "see you"));
    pair.run_until(SECOND * 10, "the first connection is gone", |world| {
        world.hosts.iter().all(|host| host.live() == 0)
    });
    pair
}

/// The client's second connection, with an early message; returns the server's end.
fn come_back(pair: &mut Pair) -> End {
    let app = App::new(1, quantum_proto::Side::Client).early(Kind::RT);
    let (host, config) = (pair.client.host, pair.config.clone());
    pair.client = pair.world.connect(host, &config, app);
    End {
        host: 0,
        slot: pair.world.hosts[0].slots.len(),
    }
}

#[test]
fn a_resumed_connection_speaks_after_half_a_round_trip() {
    let mut pair = visited(Setup::new(1, link()).client(|app| app.one(Kind::RT)));
    let began = pair.world.now;
    let server = come_back(&mut pair);
    pair.run_for(SECOND);
    let arrived = pair.world.app(server).received.first().expect("the early message").at;
    assert!(arrived.since(began) <= MS * 21, "{arrived}, began {began}");
    assert_eq!(pair.world.slot(pair.client).conn.early_accepted(), Some(true));
    assert_eq!(pair.world.app(server).received.len(), 1);
    assert!(pair.world.app(server).faults.is_empty());
}

#[test]
fn an_early_message_that_is_lost_or_refused_arrives_all_the_same() {
    // Lost: the first two datagrams of the second connection.
    let mut pair = visited(Setup::new(1, link()).client(|app| app.one(Kind::RT)));
    let mut seen = 0;
    pair.world.tap = Some(Box::new(move |_, datagram| {
        seen += u32::from(datagram.from == CLIENT);
        Verdict {
            pass: seen > 2,
            ..Verdict::PASS
        }
    }));
    let server = come_back(&mut pair);
    pair.run_for(SECOND * 2);
    assert_eq!(pair.world.app(server).received.len(), 1);
    // Refused: the server has forgotten its tickets.
    let mut pair = visited(Setup::new(1, link()).client(|app| app.one(Kind::RT)));
    let fresh = Setup::new(1, link()).build();
    pair.world.hosts[0] = fresh.world.hosts.into_iter().next().unwrap();
    let began = pair.world.now;
    let server = come_back(&mut pair);
    pair.run_for(SECOND);
    assert_eq!(pair.world.slot(pair.client).conn.early_accepted(), Some(false));
    let arrived = pair.world.app(server).received.first().expect("it was sent again").at;
    assert!(arrived.since(began) <= MS * 70, "{arrived}, began {began}");
    assert_eq!(pair.world.app(server).received.len(), 1);
}

#[test]
fn a_replayed_early_message_is_not_delivered_again() {
    let mut pair = visited(Setup::new(1, link()).client(|app| app.one(Kind::RT)));
    let recorded = Rc::new(RefCell::new(Vec::new()));
    let tape = Rc::clone(&recorded);
    pair.world.tap = Some(Box::new(move |_, datagram| {
        if datagram.to == SERVER {
            tape.borrow_mut().push(datagram.clone());
        }
        Verdict::PASS
    }));
    let server = come_back(&mut pair);
    pair.run_for(SECOND);
    assert_eq!(pair.world.app(server).received.len(), 1);
    let client = pair.client;
    pair.world
        .act(client, |now, conn, _| conn.close(now, CloseCode::NO_ERROR, ""));
    pair.run_until(SECOND * 10, "the second connection is gone", |world| {
        world.hosts[0].live() == 0
    });
    pair.world.tap = None;
    let tape = recorded.take();
    for datagram in tape {
        pair.world.inject(MS, datagram);
    }
    pair.run_for(SECOND);
    assert!(pair.world.hosts[0].slots.len() > 2, "the replay began a connection");
    assert!(
        pair.world.hosts[0].slots[2..]
            .iter()
            .all(|slot| slot.app.received.is_empty())
    );
}

#[test]
fn any_datagram_of_the_handshake_may_be_lost() {
    seeds(24, |seed| {
        let (lost, both) = (seed % 12, seed >= 12);
        let mut built = Setup::new(seed, link())
            .client(|app| app.one(Kind::RT))
            .server(|app| app.one(Kind::RT))
            .transport(|transport| transport.protection = false)
            .build();
        let mut count = 0;
        // Counted over both directions, or the client's alone and two in a row.
        built.world.tap = Some(Box::new(move |_, datagram| {
            if both && datagram.from != CLIENT {
                return Verdict::PASS;
            }
            count += 1;
            let dropped = count == lost + 1 || (both && count == lost + 2);
            Verdict {
                pass: !dropped,
                ..Verdict::PASS
            }
        }));
        let mut pair = built.connect();
        // Before there is a sample, the first timeout is three times the assumed RTT of 100 ms; two losses double it once.
        pair.run_to_end(if both { SECOND * 2 } else { SECOND });
        assert!(pair.client().closed.is_none() && pair.server().closed.is_none());
    });
}

/// When the client, which speaks all the time, begins to probe for larger packets: only after the handshake. `lost` datagrams of the
/// server that hold nothing of the handshake get lost.
fn confirmed_at(mut lost: u32) -> Time {
    let mut built = Setup::new(1, link())
        .client(|app| app.rate(Kind::RT, 100, SECOND))
        .build();
    built.world.tap = Some(Box::new(move |_, datagram| {
        let drop =
            lost > 0 && datagram.from == SERVER && wire::packets(&datagram.bytes).all(|packet| !packet.has(Flags::SYN));
        lost -= u32::from(drop);
        Verdict {
            pass: !drop,
            ..Verdict::PASS
        }
    }));
    let mut pair = built.connect();
    let client = pair.client;
    pair.run_until(SECOND, "a larger packet got through", |world| {
        world.slot(client).conn.stats().mtu > 1200
    })
}

#[test]
fn a_lost_handshake_done_is_made_up_for_by_any_acknowledgement() {
    // The third is the one with HANDSHAKE_DONE.
    let (clean, lossy) = (confirmed_at(0), confirmed_at(3));
    // The server would say it again after a probe timeout, far more than a round trip.
    assert!(lossy > clean && lossy <= clean + MS * 20, "{clean} {lossy}");
}

#[test]
fn a_handshake_survives_heavy_loss() {
    seeds(50, |seed| {
        let link = link().losing(Loss::Bernoulli(0.3));
        let mut pair = Setup::new(seed, link).client(|app| app.one(Kind::RT)).start();
        pair.run_to_end(SECOND * 25);
    });
}

#[test]
fn an_address_that_never_answers_is_not_flooded() {
    let mut built = Setup::new(1, link()).build();
    // The client falls silent after its first flight.
    let mut seen = 0;
    built.world.tap = Some(Box::new(move |_, datagram| {
        seen += u32::from(datagram.from == CLIENT);
        Verdict {
            pass: seen <= 1,
            ..Verdict::PASS
        }
    }));
    let mut pair = built.connect();
    pair.run_for(SECOND * 120);
    let traffic = pair.world.traffic[&CLIENT];
    assert!(traffic.sent > 0 && traffic.received > 0);
    assert!(traffic.sent <= 3 * traffic.received, "{traffic:?}");
    assert_eq!(pair.world.hosts[0].live(), 0, "the half-open connection was given up");
}

#[test]
fn under_load_the_server_asks_for_proof_and_keeps_nothing() {
    let mut setup = Setup::new(1, link()).client(|app| app.one(Kind::RT));
    setup.endpoint.retry_above = 0;
    let mut pair = setup.start();
    pair.run_for(MS * 59);
    assert!(!pair.has_accepted(), "state before the address was proved");
    assert_eq!(pair.world.hosts[0].endpoint.stats().retries, 1);
    pair.run_to_end(SECOND);
    assert!(pair.server().received[0].at.as_nanos() <= 102_000_000);
}

#[test]
fn an_unknown_version_is_answered_with_ours() {
    let mut built = Setup::new(1, link()).build();
    let answer = Rc::new(RefCell::new(None));
    let kept = Rc::clone(&answer);
    built.world.tap = Some(Box::new(move |_, datagram| {
        if datagram.from == SERVER {
            *kept.borrow_mut() = Some(datagram.bytes.clone());
            return Verdict::DROP;
        }
        let mut other = datagram.clone();
        other.bytes[4] = 9;
        Verdict {
            pass: false,
            ..Verdict::and(MS, other)
        }
    }));
    let mut pair = built.connect();
    pair.run_for(MS * 50);
    let answer = answer.take().expect("an answer");
    let clear = wire::first(&answer).unwrap();
    assert_eq!(
        (clear.flags, &answer[wire::HEADER..]),
        (Flags::SYN.with(Flags::RST).0, &[1][..])
    );
    assert!(!pair.has_accepted());
}

#[test]
fn a_client_that_hears_only_of_other_versions_fails_and_says_so() {
    let mut built = Setup::new(1, link()).build();
    built.world.tap = Some(Box::new(move |_, datagram| {
        let clear = wire::first(&datagram.bytes).unwrap();
        let flags = Flags::SYN.with(Flags::RST).0;
        let mut bytes = wire::Clear {
            flags,
            len: 1,
            number: 0,
            ack: 0,
            ..clear
        }
        .write();
        bytes.push(2);
        let answer = crate::host::Datagram {
            from: SERVER,
            to: datagram.from,
            ecn: None,
            bytes,
        };
        Verdict {
            pass: false,
            ..Verdict::and(MS, answer)
        }
    }));
    let mut pair = built.connect();
    pair.run_for(SECOND * 40);
    assert_eq!(pair.client().closed.as_ref().unwrap().1, ConnectionError::Version);
}

#[test]
fn forged_answers_before_the_real_one_change_nothing() {
    for flags in [
        Flags::SYN.with(Flags::RST),
        Flags::SYN.with(Flags::RST).with(Flags::PSH),
        Flags::RST,
    ] {
        let mut built = Setup::new(1, link()).client(|app| app.one(Kind::RT)).build();
        let mut done = false;
        built.world.tap = Some(Box::new(move |_, datagram| {
            if std::mem::replace(&mut done, true) {
                return Verdict::PASS;
            }
            let clear = wire::first(&datagram.bytes).unwrap();
            let forged = wire::Clear {
                flags: flags.0,
                number: u32::MAX,
                ack: 0,
                len: 40,
                ..clear
            };
            let bytes = if flags.has(Flags::PSH) {
                // A retry with a token that the server never gave: TOKEN, its length, its bytes.
                wire::seal_initial(forged, Side::Server, [&[0x0c, 24][..], &[7; 24]].concat())
            } else {
                [forged.write(), vec![2; 40]].concat()
            };
            Verdict::and(
                MS,
                crate::host::Datagram {
                    from: SERVER,
                    to: datagram.from,
                    ecn: None,
                    bytes,
                },
            )
        }));
        let mut pair = built.connect();
        pair.run_to_end(SECOND);
        assert!(pair.client().closed.is_none());
    }
}

#[test]
fn a_server_with_the_wrong_certificate_is_refused() {
    let mut built = Setup::new(1, link()).client(|app| app.one(Kind::RT)).build();
    built.config = tls::deceived_client(quantum_proto::TransportConfig::default());
    let mut pair = built.connect();
    pair.run_for(SECOND * 2);
    let (_, error) = pair.client().closed.clone().expect("the client closed");
    let ConnectionError::Transport(error) = error else {
        panic!("{error:?}")
    };
    assert!((0x80..=0xff).contains(&error.code.0), "{error}");
    assert!(!connected(&pair.world, pair.client) && !connected(&pair.world, ACCEPTED));
    assert!(
        matches!(pair.server().closed, Some((_, ConnectionError::ClosedByPeer(ref told))) if told.code == error.code)
    );
    assert!(pair.server().received.is_empty());
}

#[test]
fn a_server_that_takes_no_more_says_so() {
    let mut built = Setup::new(1, link()).build();
    built.world.hosts[0].endpoint.refuse_new();
    let mut pair = built.connect();
    pair.run_for(SECOND);
    let (at, error) = pair.client().closed.clone().expect("the client heard");
    assert!(
        matches!(error, ConnectionError::ClosedByPeer(ref told) if told.code == CloseCode::REFUSED),
        "{error:?}"
    );
    assert!(at.as_nanos() <= 41_000_000);
    let client = pair.client;
    let refused = pair.world.act(client, |_, conn, _| {
        let (channel, delivery, priority) = Default::default();
        conn.send(channel, delivery, priority, bytes::Bytes::new())
    });
    assert_eq!(refused, Err(SendError::Closed));
}
