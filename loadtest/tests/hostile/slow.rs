//! Clients that open a document and do not read.
//!
//! Why each was given up is read from the server's metrics. The client itself may see a close frame with the same code
//! or just the end of the stream: to peers that broke no rule the server sends no close frame, since stock clients that
//! are busy when one arrives do not survive it.

use std::time::{Duration, Instant};

use aetherflow_loadtest::{
    client::Client,
    replica::Replica,
    wire::{self, Endpoint, Socket, WireError},
};
use aetherflow_schema::{close::CloseCode, id::DocumentId, repo::Message};
use automerge::{AutoCommit, ROOT, transaction::Transactable};
use rand::{RngCore, SeedableRng, rngs::StdRng};
use tokio::time::sleep;
use uuid::Uuid;

use crate::{PATIENCE, QUEUE_BYTES, Stage, ending};

/// Bytes of one change, random so that nothing compresses them.
const CHANGE_BYTES: usize = 64 << 10;

/// Bytes that a reader may be behind: what the server queues, and what the system keeps for a socket on both sides.
const BEHIND: usize = QUEUE_BYTES + (12 << 20);

/// One reader stops reading while another client writes; one never reads at all. The first is given up for its queue,
/// the second for the pings it does not answer, and the writer is not held up by either.
pub(crate) async fn readers(stage: &mut Stage) {
    let document = DocumentId::from_uuid(Uuid::new_v4());
    let busy = Client::start(
        "busy",
        stage.server.address(),
        [(document.clone(), Replica::new(AutoCommit::new()))],
    );
    let mut rng = StdRng::from_rng(&mut stage.rng);
    let mut write = |key: usize| {
        let mut value = vec![0; CHANGE_BYTES];
        rng.fill_bytes(&mut value);
        busy.edit(&document, |content| {
            content.put(ROOT, format!("k{}", key % 8), value).unwrap()
        });
    };
    write(0);
    busy.until(&document, "the first change is saved", PATIENCE, Replica::is_saved)
        .await
        .unwrap();
    let started = Instant::now();
    let mut deaf = Reader::join("deaf", stage.endpoint(0), &document).await;
    deaf.say().await;
    let mut slow = Reader::join("slow", stage.endpoint(1), &document).await;
    slow.sync().await;

    let mut changes = 1;
    while !gave_up(stage, CloseCode::SlowReader).await {
        assert!(
            started.elapsed() < PATIENCE,
            "the slow reader is still connected after {changes} changes"
        );
        for _ in 0..8 {
            write(changes);
            changes += 1;
        }
        let saved = busy
            .until(&document, "the busy writer is not held up", PATIENCE, Replica::is_saved)
            .await;
        saved.unwrap();
    }
    println!(
        "the slow reader was given up after {:.1?} and {changes} changes of 64 KiB",
        started.elapsed()
    );
    assert!(
        changes * CHANGE_BYTES <= BEHIND,
        "more was queued than allowed: {changes} changes of 64 KiB"
    );
    stage.measure();
    slow.ended_by(CloseCode::SlowReader).await;

    while !gave_up(stage, CloseCode::KeepAliveTimeout).await {
        assert!(started.elapsed() < PATIENCE, "the deaf reader is still connected");
        // Between two looks; nothing tells from outside when the time has come.
        sleep(Duration::from_millis(50)).await;
    }
    println!("the deaf reader was given up after {:.1?}", started.elapsed());
    deaf.ended_by(CloseCode::KeepAliveTimeout).await;
    assert_eq!(busy.connections(), 1, "{}", busy.last_ending());
}

/// Whether the server counts a connection closed for this.
async fn gave_up(stage: &Stage, code: CloseCode) -> bool {
    let metrics = stage.server.metrics().await.unwrap();
    let line = format!("aetherflow_gateway_closes_total{{code=\"{}\"", code.code());
    metrics.lines().any(|metric| metric.starts_with(&line))
}

/// A client that reads only when told to.
struct Reader {
    name: &'static str,
    server: String,
    document: DocumentId,
    replica: Replica,
    socket: Socket,
}

impl Reader {
    async fn join(name: &'static str, endpoint: Endpoint, document: &DocumentId) -> Self {
        let endpoint = Endpoint {
            receive_buffer: Some(8 << 10),
            ..endpoint
        };
        let mut socket = endpoint.dial().await.unwrap();
        let server = wire::join(&mut socket, name).await.unwrap();
        Self {
            name,
            server,
            document: document.clone(),
            replica: Replica::new(AutoCommit::new()),
            socket,
        }
    }

    async fn say(&mut self) {
        let Some(saying) = self.replica.say() else { return };
        let frame = wire::sync_frame(self.name, &self.server, &self.document, saying);
        wire::send(&mut self.socket, frame).await.unwrap();
    }

    /// Loads the document and says so, as an honest reader does.
    async fn sync(&mut self) {
        self.say().await;
        while !self.replica.is_in_sync() {
            let frame = wire::receive(&mut self.socket).await.unwrap();
            if let Message::Sync { data, .. } = wire::decode(&frame).unwrap() {
                self.replica.hear(&data).unwrap();
                self.say().await;
            }
        }
    }

    /// The connection has ended, and if the server said why, then with this code.
    async fn ended_by(&mut self, expected: CloseCode) {
        if let WireError::Closed { code, .. } = ending(&mut self.socket).await {
            assert_eq!(code, Some(expected.code()), "{}", self.name);
        }
    }
}
