//! A client that moves: nothing is lost, the pause is short, and nobody can tell from the ids that it is the same.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    rc::Rc,
    time::Duration,
};

use quantum_proto::Time;

use crate::{
    app::Kind,
    journal::Journal,
    link::{LinkSpec, Loss},
    pair::{CLIENT, MS, Pair, SECOND, Setup},
    sweep::seeds,
    wire,
    world::Verdict,
};

const RTT: Duration = Duration::from_millis(60);

fn elsewhere(n: u8) -> SocketAddr {
    SocketAddr::from(([172, 16, 0, n], 6000 + u16::from(n)))
}

fn another_port() -> SocketAddr {
    SocketAddr::new(CLIENT.ip(), CLIENT.port() + 1)
}

/// Bulk and small messages both ways for four seconds.
fn transfer(seed: u64, loss: Loss) -> Pair {
    let link = LinkSpec::clean(RTT / 2).limited(8_000_000, 1.0).losing(loss);
    Setup::new(seed, link)
        .client(|app| app.bulk(Kind::BULK, SECOND * 4).rate(Kind::RT, 60, SECOND * 4))
        .server(|app| app.bulk(Kind::BULK, SECOND * 4).rate(Kind::RT, 60, SECOND * 4))
        .start()
}

/// Moves at 2 s; returns the longest pause of each direction.
fn moved(seed: u64, loss: Loss, to: SocketAddr, known: bool) -> (Duration, Duration, Pair) {
    let mut pair = transfer(seed, loss);
    let host = pair.client.host;
    pair.world
        .at(Time::ZERO + SECOND * 2, move |world| world.move_client(host, to, known));
    pair.run_to_end(SECOND * 30);
    let (up, down) = (pair.expect_complete().0.stall, pair.expect_complete().1.stall);
    assert_eq!(pair.server().moves, 1, "{}", pair.summary());
    assert_eq!(pair.client().moves, 0);
    assert_eq!(pair.world.slot(crate::pair::ACCEPTED).conn.remote(), to);
    (up, down, pair)
}

#[test]
fn a_known_move_pauses_for_a_few_round_trips() {
    let (up, down, _) = moved(1, Loss::None, elsewhere(1), true);
    assert!(up <= RTT * 3, "up {up:?}");
    assert!(down <= RTT * 5, "down {down:?}");
}

#[test]
fn a_nat_that_changes_its_port_or_address_unseen_is_followed() {
    for to in [another_port(), elsewhere(2)] {
        let (up, down, _) = moved(1, Loss::None, to, false);
        assert!(up <= RTT * 3, "{to}: up {up:?}");
        assert!(down <= RTT * 5, "{to}: down {down:?}");
    }
}

#[test]
fn moves_lose_nothing_on_lossy_links() {
    seeds(20, |seed| {
        let to = [another_port(), elsewhere(3)][seed as usize % 2];
        moved(seed, Loss::Bernoulli(0.05), to, seed % 4 < 2);
    });
}

#[test]
fn many_moves_in_a_row_are_survived() {
    let mut pair = transfer(1, Loss::None);
    let host = pair.client.host;
    for n in 1..=12u8 {
        let at = Time::ZERO + MS * 250 * n.into();
        pair.world
            .at(at, move |world| world.move_client(host, elsewhere(n), n % 3 != 0));
    }
    pair.run_to_end(SECOND * 40);
    assert!(pair.server().moves >= 10, "{}", pair.server().moves);
}

#[test]
fn a_move_during_silence_is_noticed_afterwards() {
    let mut pair = transfer(1, Loss::None);
    let host = pair.client.host;
    for link in &mut pair.world.links {
        link.spec.blackouts.push((Time::ZERO + SECOND, Time::ZERO + SECOND * 3));
    }
    pair.world.at(Time::ZERO + SECOND * 2, move |world| {
        world.move_client(host, elsewhere(4), true)
    });
    pair.run_to_end(SECOND * 40);
    let stall = |journal: Journal| journal.stall;
    let (up, down) = pair.expect_complete();
    assert!(stall(up).max(stall(down)) <= SECOND * 6);
}

#[test]
fn a_client_that_knows_of_its_move_takes_a_new_id() {
    let mut pair = transfer(1, Loss::None);
    let ids: Rc<RefCell<BTreeMap<SocketAddr, BTreeSet<[u8; 16]>>>> = Rc::default();
    let seen = Rc::clone(&ids);
    pair.world.tap = Some(Box::new(move |_, datagram| {
        for packet in wire::packets(&datagram.bytes) {
            let mut seen = seen.borrow_mut();
            seen.entry(datagram.from).or_default().insert(packet.id);
            seen.entry(datagram.to).or_default().insert(packet.id);
        }
        Verdict::PASS
    }));
    let host = pair.client.host;
    for n in 0..3 {
        let at = Time::ZERO + SECOND * (1 + u32::from(n));
        pair.world
            .at(at, move |world| world.move_client(host, elsewhere(10 + n), true));
    }
    pair.run_to_end(SECOND * 30);
    let ids = ids.take();
    let places: Vec<_> = [CLIENT, elsewhere(10), elsewhere(11), elsewhere(12)]
        .map(|at| &ids[&at])
        .into();
    for (n, here) in places.iter().enumerate() {
        for there in &places[..n] {
            assert!(here.is_disjoint(there), "an id was used at two places: {ids:?}");
        }
    }
}

#[test]
fn an_idle_client_that_moved_is_found_by_what_it_says_next() {
    let mut pair = Setup::new(1, LinkSpec::clean(RTT / 2))
        .client(|app| app.one(Kind::RT))
        .start();
    pair.run_to_end(SECOND);
    let (host, client) = (pair.client.host, pair.client);
    pair.world.move_client(host, elsewhere(5), false);
    pair.world.act(client, |now, _, app| app.push(now, Kind::RT));
    let sent = pair.world.now;
    pair.run_to_end(SECOND);
    assert!(pair.server().received[1].at.since(sent) <= RTT / 2 + MS);
    pair.world
        .act(crate::pair::ACCEPTED, |now, _, app| app.push(now, Kind::RT));
    pair.run_to_end(SECOND);
    assert_eq!(pair.client().received.len(), 1);
}

/// What was on its way to the old address is lost, and the new path is none the worse for it.
#[test]
fn losses_of_the_old_path_are_not_held_against_the_new_one() {
    let (_, _, pair) = moved(1, Loss::None, elsewhere(1), true);
    for stats in [pair.client_stats(), pair.server_stats()] {
        // Beginning anew overruns the queue there a little; what was on its way would be ten times that.
        assert!(stats.loss < 0.03, "{stats:?}");
    }
    assert!(pair.server_stats().packets_lost > 0, "something was on its way");
}
