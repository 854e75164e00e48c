//! The client's last flight: when it is repeated, and what it costs when it is lost or too late.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use quantum_proto::{ConnectionError, Flags, Time};

use crate::{
    app::Kind,
    link::LinkSpec,
    pair::{CLIENT, MS, SECOND, Setup},
    tls, wire,
    world::{SERVER, Verdict},
};

/// 40 ms there and back.
fn link() -> LinkSpec {
    LinkSpec::clean(MS * 20)
}

/// Whether a packet of the handshake level is in it, and whether one that holds messages.
fn levels(bytes: &[u8]) -> (bool, bool) {
    let handshake = |packet: &wire::Clear| packet.has(Flags::SYN) && packet.has(Flags::PSH);
    (
        wire::packets(bytes).any(|packet| handshake(&packet)),
        wire::packets(bytes).any(|packet| packet.is_application()),
    )
}

#[test]
fn the_last_flight_is_repeated_only_along_with_messages() {
    for kind in [Kind::BULK, Kind::RT] {
        let mut built = Setup::new(1, link()).client(|app| app.bulk(kind, SECOND)).build();
        let sent = Rc::new(RefCell::new(Vec::new()));
        let seen = Rc::clone(&sent);
        built.world.tap = Some(Box::new(move |now, datagram| {
            if datagram.from == CLIENT && levels(&datagram.bytes).0 {
                seen.borrow_mut().push((now, levels(&datagram.bytes).1));
            }
            Verdict::PASS
        }));
        let mut pair = built.connect();
        pair.run_for(MS * 79);
        let mut sent = sent.take().into_iter();
        // The first holds an acknowledgement of an initial packet too, and so no messages.
        sent.next().expect("the last flight");
        let repeats: Vec<_> = sent.collect();
        assert!((1..=3).contains(&repeats.len()), "{kind:?}: {repeats:?}");
        assert!(
            repeats.iter().all(|(_, with_messages)| *with_messages),
            "{kind:?}: {repeats:?}"
        );
        assert!(
            repeats.is_sorted_by(|(before, _), (after, _)| before < after),
            "{kind:?}: {repeats:?}"
        );
    }
}

#[test]
fn a_last_flight_that_is_lost_holds_up_a_flow_of_messages_no_longer_than_the_next() {
    let mut built = Setup::new(1, link())
        .client(|app| app.rate(Kind::RT, 600, SECOND))
        .build();
    let lost = Rc::new(Cell::new(false));
    let seen = Rc::clone(&lost);
    built.world.tap = Some(Box::new(move |_, datagram| {
        let drop = !seen.get() && datagram.from == CLIENT && levels(&datagram.bytes).0;
        seen.set(seen.get() || drop);
        Verdict {
            pass: !drop,
            ..Verdict::PASS
        }
    }));
    let mut pair = built.connect();
    pair.run_until(SECOND, "a message arrived", |world| {
        world.hosts[0]
            .slots
            .first()
            .is_some_and(|slot| !slot.app.received.is_empty())
    });
    // One and a half round trips, and what follows the flight at once.
    assert!(
        lost.get() && pair.world.now <= Time::ZERO + MS * 70,
        "{}",
        pair.world.now
    );
}

#[test]
fn a_server_that_restarts_within_the_handshake_resets_the_connection() {
    let setup = Setup::new(1, link()).client(|app| app.rate(Kind::RT, 100, SECOND));
    let config = setup.endpoint.clone();
    let mut built = setup.build();
    // Its flight gets through, and after that only what the new one says.
    built.world.tap = Some(Box::new(|now, datagram| Verdict {
        pass: datagram.from != SERVER || !(MS * 25..MS * 65).contains(&now.since(Time::ZERO)),
        ..Verdict::PASS
    }));
    let mut pair = built.connect();
    pair.run_for(MS * 65);
    assert!(pair.client().connected.is_some() && pair.has_accepted());
    let server = tls::server(quantum_proto::TransportConfig::default());
    pair.world.hosts[0].endpoint = quantum_proto::Endpoint::new(config, Some(server));
    pair.world.hosts[0].forget();
    pair.run_for(SECOND);
    let (at, error) = pair.client().closed.clone().expect("the client was told");
    assert_eq!(error, ConnectionError::Reset);
    // Two round trips and the first probe's timeout, which is one and four times half of it: smoothed and variation.
    let took = at.since(pair.client().connected.expect("it was connected"));
    assert!(took <= MS * (80 + 120), "{took:?}");
}

#[test]
fn what_is_repeated_without_need_is_nothing_rejected() {
    let mut pair = Setup::new(1, link())
        .client(|app| app.rate(Kind::RT, 600, SECOND))
        .start();
    pair.run_to_end(SECOND * 2);
    assert_eq!(
        (
            pair.server_stats().packets_rejected,
            pair.client_stats().packets_rejected
        ),
        (0, 0)
    );
}
