//! A client that opens a document and never reads.

use std::time::{Duration, Instant};

use aetherflow_loadtest::{
    client::Client,
    replica::Replica,
    wire::{self, Endpoint},
};
use aetherflow_schema::{close::CloseCode, id::DocumentId, repo::Message};
use automerge::{AutoCommit, ROOT, sync::SyncDoc, transaction::Transactable};
use rand::{RngCore, SeedableRng, rngs::StdRng};
use tokio::time::sleep;
use uuid::Uuid;

use crate::{PATIENCE, Stage, close_code};

/// Bytes of one change, random so that nothing compresses them.
const CHANGE_BYTES: usize = 64 << 10;

/// Another client writes to the document until the server gives the slow reader up: for its queue, or for pings that
/// it does not answer. That client is not held up.
pub(crate) async fn reader(stage: &mut Stage) {
    let document = DocumentId::from_uuid(Uuid::new_v4());
    let busy = Client::start(
        "busy",
        stage.server.address(),
        [(document.clone(), Replica::new(AutoCommit::new()))],
    );
    let mut rng = StdRng::from_rng(&mut stage.rng);
    let mut write = |key: u64| {
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

    let endpoint = Endpoint {
        receive_buffer: Some(8 << 10),
        ..stage.endpoint(0)
    };
    let mut slow = endpoint.dial().await.unwrap();
    let server = wire::join(&mut slow, "slow").await.unwrap();
    let ask = AutoCommit::new()
        .sync()
        .generate_sync_message(&mut automerge::sync::State::new())
        .unwrap();
    let request = Message::Request {
        sender: "slow".into(),
        target: server.into(),
        document: document.clone(),
        data: ask.encode().into(),
    };
    wire::send(&mut slow, request.encode()).await.unwrap();

    let started = Instant::now();
    let mut changes = 1;
    while !gave_up(stage).await {
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
        // Time for the queue to be noticed, so that not too much is written.
        sleep(Duration::from_millis(20)).await;
    }
    println!(
        "the slow reader was given up after {:.1?} and {changes} changes of 64 KiB",
        started.elapsed()
    );
    stage.measure();
    let code = close_code(&mut slow).await;
    let expected = [CloseCode::SlowReader, CloseCode::KeepAliveTimeout].map(CloseCode::code);
    assert!(expected.contains(&code), "{code}");
    assert_eq!(busy.connections(), 1, "{}", busy.last_ending());
}

/// Whether the server counts a connection closed for not reading.
async fn gave_up(stage: &Stage) -> bool {
    let metrics = stage.server.metrics().await.unwrap();
    [CloseCode::SlowReader, CloseCode::KeepAliveTimeout].iter().any(|code| {
        let line = format!("aetherflow_gateway_closes_total{{code=\"{}\"", code.code());
        metrics.lines().any(|metric| metric.starts_with(&line))
    })
}
