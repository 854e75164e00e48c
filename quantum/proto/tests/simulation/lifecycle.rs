//! How connections live on and end.

use std::{cell::Cell, rc::Rc};

use bytes::Bytes;
use quantum_proto::{CloseCode, ConnectionError, Endpoint, SendError, Time};

use crate::{
    app::{App, Kind},
    link::{LinkSpec, Loss},
    pair::{ACCEPTED, MS, Pair, SECOND, Setup},
    sweep::seeds,
    tls, wire,
    world::{Verdict, World, endpoint_config},
};

fn link() -> LinkSpec {
    LinkSpec::clean(MS * 20)
}

fn closed(app: &App) -> Option<ConnectionError> {
    app.closed.as_ref().map(|(_, error)| error.clone())
}

fn is_graceful(error: &Option<ConnectionError>) -> bool {
    match error {
        Some(ConnectionError::Closed) => true,
        Some(ConnectionError::ClosedByPeer(told)) => told.code == CloseCode::NO_ERROR,
        _ => false,
    }
}

fn all_gone(world: &World) -> bool {
    world
        .hosts
        .iter()
        .all(|host| host.live() == 0 && host.endpoint.connections().0 == 0)
}

#[test]
fn a_graceful_end_delivers_everything() {
    seeds(20, |seed| {
        let link = link().limited(5_000_000, 2.0).losing(Loss::Bernoulli(0.1));
        let mut pair = Setup::new(seed, link)
            .client(|app| app.bulk(Kind::BULK, MS * 300).rate(Kind::RT, 100, MS * 300).finishing())
            .start();
        pair.run_until(SECOND * 60, "both ends are gone", all_gone);
        pair.expect_complete();
        assert!(pair.server().received.len() >= 30);
        assert!(is_graceful(&closed(pair.client())), "{}", pair.summary());
        // CLOSE may be lost, and then it is the silence that ends the server's side.
        let end = closed(pair.server());
        assert!(is_graceful(&end) || end == Some(ConnectionError::TimedOut), "{end:?}");
    });
}

#[test]
fn nothing_is_taken_after_finish_or_close() {
    let mut pair = Setup::new(1, link()).client(|app| app.one(Kind::RT)).start();
    pair.run_to_end(SECOND);
    let client = pair.client;
    let (channel, delivery, priority) = Default::default();
    for end in [client, ACCEPTED] {
        let sent = pair.world.act(end, |now, conn, _| {
            conn.finish(now);
            conn.send(channel, delivery, priority, Bytes::new())
        });
        assert_eq!(sent, Err(SendError::Closed));
    }
    pair.run_until(SECOND * 5, "both ends are gone", all_gone);
}

#[test]
fn a_close_is_heard_with_code_and_words() {
    let mut pair = Setup::new(1, link()).client(|app| app.one(Kind::RT)).start();
    pair.run_to_end(SECOND);
    let code = CloseCode::application(7);
    pair.world
        .act(ACCEPTED, |now, conn, _| conn.close(now, code, "maintenance"));
    let began = pair.world.now;
    pair.run_until(SECOND * 5, "both ends are gone", all_gone);
    assert_eq!(closed(pair.server()), Some(ConnectionError::Closed));
    let (at, error) = pair.client().closed.clone().unwrap();
    let ConnectionError::ClosedByPeer(told) = error else {
        panic!("{error:?}")
    };
    assert_eq!((told.code, &*told.reason), (code, "maintenance"));
    assert!(at.since(began) <= MS * 21);
}

#[test]
fn a_lost_close_is_said_again_when_the_peer_goes_on() {
    let mut pair = Setup::new(1, link())
        .client(|app| app.rate(Kind::RT, 100, SECOND * 5))
        .start();
    pair.run_for(SECOND);
    let mut dropped = false;
    pair.world.tap = Some(Box::new(move |_, datagram| {
        let drop = datagram.from == crate::world::SERVER && !dropped;
        dropped |= drop;
        Verdict {
            pass: !drop,
            ..Verdict::PASS
        }
    }));
    pair.world
        .act(ACCEPTED, |now, conn, _| conn.close(now, CloseCode::NO_ERROR, ""));
    pair.run_for(MS * 200);
    assert!(
        matches!(closed(pair.client()), Some(ConnectionError::ClosedByPeer(_))),
        "{}",
        pair.summary()
    );
}

#[test]
fn silence_ends_a_connection_on_time() {
    let mut pair = Setup::new(1, link())
        .transport(|transport| transport.keep_alive = None)
        .client_transport(|transport| transport.idle_timeout = SECOND * 12)
        .client(|app| app.one(Kind::RT))
        .start();
    pair.run_to_end(SECOND);
    pair.run_for(SECOND * 11);
    assert!(closed(pair.client()).is_none() && closed(pair.server()).is_none());
    pair.run_for(SECOND * 4);
    // The smaller of both sides' timeouts holds for both.
    assert_eq!(closed(pair.client()), Some(ConnectionError::TimedOut));
    assert_eq!(closed(pair.server()), Some(ConnectionError::TimedOut));
    assert!(all_gone(&pair.world));
}

#[test]
fn a_dead_network_ends_a_connection_even_when_it_keeps_sending() {
    let mut pair = Setup::new(1, link())
        .client(|app| app.rate(Kind::RT, 10, SECOND * 60))
        .start();
    pair.run_for(SECOND);
    for link in &mut pair.world.links {
        link.spec.blackouts.push((Time::ZERO, Time::ZERO + SECOND * 1000));
    }
    pair.run_for(SECOND * 33);
    assert_eq!(closed(pair.client()), Some(ConnectionError::TimedOut));
    assert_eq!(closed(pair.server()), Some(ConnectionError::TimedOut));
}

#[test]
fn keep_alives_hold_an_idle_connection_and_cost_little() {
    let mut pair = Setup::new(1, link()).client(|app| app.one(Kind::RT)).start();
    pair.run_for(SECOND * 20);
    let before = pair.world.links[0].counters;
    pair.run_for(SECOND * 300);
    assert!(closed(pair.client()).is_none() && closed(pair.server()).is_none());
    let sent = pair.world.links[0].counters.since(&before).offered;
    assert!((15..=130).contains(&sent), "{sent} datagrams in 300 s");
}

#[test]
fn keys_change_in_the_middle_of_a_transfer() {
    seeds(6, |seed| {
        let link = link().limited(5_000_000, 1.0).losing(Loss::Bernoulli(0.03));
        let mut pair = Setup::new(seed, link)
            .client(|app| app.bulk(Kind::BULK, SECOND * 4))
            .server(|app| app.bulk(Kind::BULK, SECOND * 4))
            .start();
        let largest = Rc::new(Cell::new([0; 2]));
        let seen = Rc::clone(&largest);
        pair.world.tap = Some(Box::new(move |_, datagram| {
            for packet in wire::packets(&datagram.bytes).filter(wire::Clear::is_application) {
                let mut numbers = seen.get();
                let number = &mut numbers[usize::from(datagram.from == crate::world::SERVER)];
                *number = packet.number.max(*number);
                seen.set(numbers);
            }
            Verdict::PASS
        }));
        let client = pair.client;
        for (second, end) in [(1, client), (2, ACCEPTED), (3, client), (3, ACCEPTED)] {
            let update = move |world: &mut World| world.act(end, |_, conn, _| conn.update_keys());
            pair.world.at(Time::ZERO + SECOND * second, update);
        }
        pair.run_to_end(SECOND * 30);
        // The generation stands above the 20 lowest bits.
        assert!(
            largest.get().iter().all(|number| number >> 20 >= 2),
            "{:?}",
            largest.get()
        );
        let (up, down) = pair.expect_complete();
        assert!(up.stall.max(down.stall) <= MS * 500);
    });
}

/// The server is replaced by one that knows nothing, but has the same secret or another one.
fn restarted(same_secret: bool) -> Pair {
    let mut pair = Setup::new(1, link())
        .client(|app| app.rate(Kind::RT, 20, SECOND * 60))
        .start();
    pair.run_for(SECOND);
    let mut config = endpoint_config(5, 0);
    config.secret[0] ^= u8::from(!same_secret);
    let server = tls::server(quantum_proto::TransportConfig::default());
    pair.world.hosts[0].endpoint = Endpoint::new(config, Some(server));
    pair.world.hosts[0].forget();
    pair
}

#[test]
fn a_server_that_forgot_resets_the_connection_at_once() {
    let mut pair = restarted(true);
    pair.run_for(MS * 150);
    assert_eq!(
        closed(pair.client()),
        Some(ConnectionError::Reset),
        "{}",
        pair.summary()
    );
    assert!(pair.world.hosts[0].endpoint.stats().resets >= 1);
    assert!(!pair.has_accepted());
}

#[test]
fn a_reset_with_a_foreign_token_is_not_believed() {
    let mut pair = restarted(false);
    pair.run_for(SECOND * 5);
    assert_eq!(closed(pair.client()), None);
    pair.run_for(SECOND * 40);
    assert_eq!(closed(pair.client()), Some(ConnectionError::TimedOut));
}

#[test]
fn unreliable_datagrams_do_not_starve_behind_messages() {
    for (kind, len) in [(Kind::BULK, 100), (Kind::BULK, 1000), (Kind::RT, 100)] {
        let link = link().limited(5_000_000, 2.0);
        let mut pair = Setup::new(1, link).client(|app| app.bulk(kind, SECOND * 3)).start();
        pair.run_for(SECOND);
        let client = pair.client;
        for n in 0..100u8 {
            let sent = pair
                .world
                .act(client, |_, conn, _| conn.send_datagram(vec![n; len].into()));
            assert_eq!(sent, Ok(()));
            pair.run_for(MS * 10);
        }
        assert!(
            !pair.client().has_said_all(pair.world.now),
            "there are messages all the time"
        );
        pair.run_for(MS * 200);
        let (arrived, wanted) = (pair.server().datagrams.len(), if kind == Kind::BULK { 90 } else { 0 });
        assert!(arrived >= wanted, "{arrived} datagrams beside {kind:?}");
    }
}

#[test]
fn unreliable_datagrams_pass_while_there_is_room() {
    let mut pair = Setup::new(1, link()).client(|app| app.one(Kind::RT)).start();
    pair.run_to_end(SECOND);
    let client = pair.client;
    for n in 0..20u8 {
        let sent = pair.world.act(client, |_, conn, _| {
            conn.send_datagram(vec![n; 1 + usize::from(n) * 50].into())
        });
        assert_eq!(sent, Ok(()));
        pair.run_for(MS * 5);
    }
    pair.run_for(MS * 100);
    let expected: Vec<Bytes> = (0..20u8).map(|n| vec![n; 1 + usize::from(n) * 50].into()).collect();
    assert_eq!(pair.server().datagrams, expected);
    let too_large = pair
        .world
        .act(client, |_, conn, _| conn.send_datagram(vec![0; 1201].into()));
    assert!(
        matches!(too_large, Err(SendError::TooLarge { bytes: 1201, .. })),
        "{too_large:?}"
    );
}
