//! Clients that are broken, or mean it: they are turned away with a reason, and nobody else notices.
//!
//! One server; two honest writers edit two documents from the first moment to the last, each on one connection that must
//! never break. After each kind of hostility the server's memory is looked at.
//!
//! Needs `AETHERFLOW_BIN`. `AETHERFLOW_SEED` repeats the hostile bytes.
#![allow(clippy::unwrap_used)]

mod frames;
mod slow;
mod sockets;

use std::{
    net::{IpAddr, Ipv4Addr},
    time::{Duration, Instant},
};

use aetherflow_loadtest::{
    audit,
    crew::{Crew, CrewOptions},
    seed,
    server::{Server, ServerOptions},
    wire::{self, Endpoint, Socket, WireError},
};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use rand::{SeedableRng, rngs::StdRng};
use tokio::time::timeout;

/// How long the server may take over anything.
const PATIENCE: Duration = Duration::from_secs(20);

/// Bytes of one message that the server is told to accept.
const FRAME_BYTES: usize = 4 << 20;

/// Bytes that the server is told to queue for one client.
const QUEUE_BYTES: usize = 4 << 20;

/// How long the server is told to wait for the headers of a request, and for a join.
const TIMEOUT_MS: u64 = 3_000;

/// By how much the server's memory may grow over what it has with only the honest writers. What may be held at once:
/// * 3,000 half-open connections of at most 32 KiB (one buffer of 16 KiB for the request, what the runtime keeps): 96 MiB;
/// * sixteen hostile connections with a message each that is not complete, at twice [`FRAME_BYTES`]: 128 MiB;
/// * a slow reader's queue: [`QUEUE_BYTES`];
/// * the document that is written for the slow reader: some 16 MiB several times over, in the document, in RocksDB's
///   memory table and in the frames under way: 64 MiB.
///
/// These come one after the other, but the allocator does not give everything back in between.
const GROWTH_BYTES: u64 = 292 << 20;

/// The server, and those who behave.
pub(crate) struct Stage {
    pub(crate) server: Server,
    pub(crate) crew: Crew,
    pub(crate) rng: StdRng,
    baseline: u64,
    highest: u64,
    edits: u64,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_clients_hurt_nobody_but_themselves() {
    raise_open_files();
    let seed = seed();
    println!("AETHERFLOW_SEED={seed}");
    let dir = tempfile::tempdir().unwrap();
    let options = ServerOptions::new(dir.path())
        .unwrap()
        .set("limits.count_loopback", true)
        .set("limits.frame_bytes", FRAME_BYTES)
        .set("limits.queue_bytes", QUEUE_BYTES)
        .set("timeouts.header_ms", TIMEOUT_MS)
        .set("timeouts.join_ms", TIMEOUT_MS);
    let mut stage = Stage::set(options, seed).await;

    frames::garbage(&mut stage).await;
    stage.look("garbage").await;
    frames::mutations(&mut stage).await;
    stage.look("mutated frames").await;
    frames::versions(&mut stage).await;
    frames::broken_websocket(&mut stage).await;
    frames::oversized(&mut stage).await;
    stage.look("oversized frames").await;
    sockets::half_open(&mut stage).await;
    stage.look("half-open sockets").await;
    sockets::too_many_from_one_address(&mut stage).await;
    stage.look("too many sockets").await;
    slow::readers(&mut stage).await;
    stage.look("slow readers").await;

    stage.strike().await;
}

impl Stage {
    async fn set(options: ServerOptions, seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let server = Server::start(options).await.unwrap();
        let options = CrewOptions {
            documents: 2,
            writers: 2,
            native: 0,
            pause: Duration::from_millis(20),
        };
        let crew = Crew::start(server.address(), &options, &mut rng).unwrap();
        crew.until_connected(true, PATIENCE).await.unwrap();
        crew.until_saved(PATIENCE).await.unwrap();
        let baseline = server.resident_bytes().unwrap();
        Self {
            server,
            crew,
            rng,
            baseline,
            highest: baseline,
            edits: 0,
        }
    }

    /// Where hostile clients connect to, from the `n`th of their four addresses.
    pub(crate) fn endpoint(&self, n: usize) -> Endpoint {
        let last = 2 + u8::try_from(n % 4).unwrap();
        Endpoint {
            from: Some(IpAddr::V4(Ipv4Addr::new(127, 0, 0, last))),
            ..self.server.address().into()
        }
    }

    /// The honest writers still write, and are heard; the server's memory is within bounds.
    pub(crate) async fn look(&mut self, after: &str) {
        let started = Instant::now();
        self.crew.until_saved(PATIENCE).await.unwrap();
        let saved = started.elapsed();
        let edits = self.crew.edits();
        assert!(edits > self.edits, "after {after}: the honest writers came to a halt");
        self.edits = edits;
        for client in self.crew.clients() {
            assert_eq!(client.connections(), 1, "after {after}: {}", client.last_ending());
        }
        let resident = self.measure();
        println!(
            "after {after}: {} MiB resident, honest edits saved within {saved:.1?}",
            resident >> 20
        );
    }

    /// The server's memory, which must be within bounds.
    pub(crate) fn measure(&mut self) -> u64 {
        let resident = self.server.resident_bytes().unwrap();
        self.highest = self.highest.max(resident);
        let growth = resident.saturating_sub(self.baseline);
        assert!(
            growth <= GROWTH_BYTES,
            "the server grew by {} MiB to {} MiB",
            growth >> 20,
            resident >> 20
        );
        resident
    }

    async fn strike(self) {
        let violations = self.crew.converge(self.server.address()).await;
        assert_eq!(violations, []);
        assert_eq!(audit::audit(&self.server, &self.crew.claims()).await.unwrap(), []);
        assert_eq!(audit::verify(&self.server).await.unwrap(), None);
        println!(
            "{} honest edits; memory {} MiB at first, {} MiB at most",
            self.crew.edits(),
            self.baseline >> 20,
            self.highest >> 20
        );
        self.server.stop().await.unwrap();
    }
}

/// Reads until the server closes: the code, which must be there.
pub(crate) async fn close_code(socket: &mut Socket) -> u16 {
    match ending(socket).await {
        WireError::Closed { code: Some(code), .. } => code,
        other => panic!("closed without a reason: {other}"),
    }
}

/// Reads until the connection ends.
pub(crate) async fn ending(socket: &mut Socket) -> WireError {
    let ended = timeout(PATIENCE, async {
        loop {
            if let Err(ending) = wire::receive(socket).await {
                return ending;
            }
        }
    });
    ended.await.expect("the server did not close the connection in time")
}

/// Thousands of sockets are as many open files, here as in the server.
fn raise_open_files() {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    assert!(
        most >= 8_000,
        "this test needs 8,000 open files, and the system allows {most}"
    );
    setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
}
