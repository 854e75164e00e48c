//! A hundred thousand first flights from addresses that are not the sender's.

use std::{cell::RefCell, net::SocketAddr, rc::Rc, time::Duration};

use rand::{Rng, SeedableRng, rngs::StdRng};

use crate::{
    app::Kind,
    host::Datagram,
    link::LinkSpec,
    pair::{MS, SECOND, Setup},
    wire::Forger,
    world::{SERVER, Verdict},
};

/// In each batch, and batches.
const BATCH: u32 = 1000;
const BATCHES: u32 = 100;

/// The first flight of some client.
fn first_flight() -> Vec<u8> {
    let mut built = Setup::new(99, LinkSpec::clean(MS)).build();
    let seen = Rc::new(RefCell::new(Vec::new()));
    let kept = Rc::clone(&seen);
    built.world.tap = Some(Box::new(move |_, datagram| {
        kept.borrow_mut().push(datagram.bytes.clone());
        Verdict::DROP
    }));
    drop(built.connect());
    seen.borrow().first().expect("a first flight").clone()
}

#[test]
fn spoofed_first_flights_leave_bounded_memory_and_let_a_real_client_in() {
    let forger = Forger::new(&first_flight());
    let mut rng = StdRng::seed_from_u64(1);
    let setup = Setup::new(1, LinkSpec::clean(MS * 20)).client(|app| app.one(Kind::RT));
    let limit = setup.endpoint.retry_above;
    let mut built = setup.build();
    let mut real = None;
    for batch in 0..BATCHES {
        for i in 0..BATCH {
            let from = SocketAddr::from((rng.random::<[u8; 4]>(), 1024 + (i % 60_000) as u16));
            let bytes = forger.with_id(uuid::Uuid::from_u128(rng.random()).into_bytes());
            let datagram = Datagram {
                from,
                to: SERVER,
                ecn: None,
                bytes,
            };
            built.world.inject(Duration::from_micros(u64::from(i) * 20), datagram);
        }
        if batch == BATCHES / 2 {
            let client = built.world.connect(built.host, &built.config, built.app.clone());
            real = Some((client, built.world.now));
        }
        built.world.run_for(MS * 20);
        // One more: the real client, which has proved its address.
        let (connections, half_open) = built.world.hosts[0].endpoint.connections();
        assert!(
            connections <= limit + 1,
            "{connections} connections, {half_open} half-open"
        );
        assert_eq!(built.world.hosts[0].live(), connections);
    }
    let (client, began) = real.expect("a client connected");
    let connected = built.world.app(client).connected.expect("the real client is connected");
    // One round trip more, for the proof of its address.
    assert!(connected.since(began) <= MS * 85, "{:?}", connected.since(began));
    let delivered: usize = built.world.hosts[0]
        .slots
        .iter()
        .map(|slot| slot.app.received.len())
        .sum();
    assert_eq!(delivered, 1);
    let stats = built.world.hosts[0].endpoint.stats();
    assert!(
        stats.retries >= u64::from(BATCH * BATCHES) - limit as u64 * 2,
        "{stats:?}"
    );
    // What was half-open is given up in the end; the real one stays.
    built.world.run_for(SECOND * 60);
    assert_eq!(built.world.hosts[0].endpoint.connections(), (1, 0));
}

#[test]
fn more_connections_than_allowed_are_refused() {
    let mut setup = Setup::new(1, LinkSpec::clean(MS * 20));
    setup.endpoint.max_connections = 3;
    let mut built = setup.build();
    let clients: Vec<_> = (0..5)
        .map(|_| built.world.connect(built.host, &built.config, built.app.clone()))
        .collect();
    built.world.run_for(SECOND);
    let connected = clients
        .iter()
        .filter(|client| built.world.app(**client).connected.is_some())
        .count();
    let refused = clients
        .iter()
        .filter(|client| built.world.app(**client).closed.is_some())
        .count();
    assert_eq!((connected, refused), (3, 2));
}
