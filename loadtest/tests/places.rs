//! The checker compares where changes are said to stand with the log, and can fail.
//!
//! Needs `AETHERFLOW_BIN`.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use aetherflow_loadtest::{
    audit::{self, Claims, Violation},
    client::{Client, ClientOptions, Dialect},
    edits,
    native::Transport,
    places::{Log, Places},
    replica::Replica,
    server::{Server, ServerOptions},
};
use aetherflow_schema::id::{DocumentId, Offset};
use rand::{SeedableRng, rngs::StdRng};
use uuid::Uuid;

const WITHIN: Duration = Duration::from_secs(30);

async fn saved(client: &Client, documents: &[DocumentId]) {
    for document in documents {
        client
            .until(document, "everything is acknowledged", WITHIN, Replica::is_saved)
            .await
            .unwrap();
    }
}

fn claims(client: &Client, documents: &[DocumentId]) -> Claims {
    let mut claims = Claims::default();
    for document in documents {
        client.with(document, |replica| {
            claims.add(document, replica.acknowledged());
            claims.add_places(document, replica.places());
        });
    }
    claims
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receipts_are_compared_with_the_log_and_what_does_not_fit_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(ServerOptions::new(dir.path()).unwrap()).await.unwrap();
    let documents: Vec<_> = (0..8).map(|_| DocumentId::from_uuid(Uuid::new_v4())).collect();
    let mut rng = StdRng::seed_from_u64(11);
    let options = ClientOptions {
        dialect: Dialect::Native(Transport::WebSocket),
        ..ClientOptions::from(server.address())
    };
    let replicas = documents
        .iter()
        .map(|document| (document.clone(), Replica::new(edits::base().unwrap())));
    let client = Client::start("writer", options, replicas);
    for document in documents.iter().cycle().take(80) {
        client
            .edit(document, |content| edits::random(content, &mut rng))
            .unwrap();
    }
    saved(&client, &documents).await;
    let kept = claims(&client, &documents);
    assert_eq!((kept.changes(), kept.places()), (88, 88));
    assert_eq!(audit::audit(&server, &kept).await.unwrap(), []);

    // Said otherwise: one place further on.
    let one = &documents[0];
    let log = Log::read(&server.address().into(), one).await.unwrap();
    let mut lies = Places::default();
    client.with(one, |replica| {
        for hash in replica.heads() {
            lies.hear(hash, Offset(1 << 40));
        }
    });
    assert!(matches!(
        lies.violations(one, &log)[..],
        [Violation::Misplaced { found: Some(_), .. }]
    ));
    let mut told = claims(&client, &documents);
    told.add_places(one, &lies);
    let found = audit::audit(&server, &told).await.unwrap();
    assert!(matches!(found[..], [Violation::Contradicted { .. }]), "{found:?}");

    // Another server in its place, which knows none of it.
    let killed = server.kill().await.unwrap();
    let amnesiac = ServerOptions {
        data_dir: dir.path().join("other"),
        ..killed
    };
    client.hold();
    client.until_connected(false, WITHIN).await.unwrap();
    let server = Server::start(amnesiac).await.unwrap();
    let found = audit::audit(&server, &kept).await.unwrap();
    let lost = |violation: &&Violation| matches!(violation, Violation::Misplaced { found: None, .. });
    assert_eq!(found.iter().filter(lost).count(), documents.len(), "{found:?}");
    // The writer makes good for it, and has heard that its places are unknown.
    client.release();
    client.until_connected(true, WITHIN).await.unwrap();
    for document in &documents {
        let heard = |replica: &mut Replica| replica.places().has_forgotten();
        client
            .until(document, "the place is unknown", WITHIN, heard)
            .await
            .unwrap();
    }
    let found = audit::audit(&server, &claims(&client, &documents)).await.unwrap();
    let forgotten = |violation: &&Violation| matches!(violation, Violation::Forgotten { .. });
    assert_eq!(found.iter().filter(forgotten).count(), documents.len(), "{found:?}");
    client.stop().await;
    server.stop().await.unwrap();
}
