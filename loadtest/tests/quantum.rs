//! The native protocol over Quantum, through the real server, beside the automerge-repo protocol.
//!
//! Needs `AETHERFLOW_BIN`.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use aetherflow_loadtest::{
    client::{Client, ClientOptions},
    edits,
    native::decode,
    replica::Replica,
    server::{Server, ServerOptions},
};
use aetherflow_schema::{
    id::{DocumentId, Offset},
    native::{
        ClientFrame, Hello, PROTOCOL, RequestId, Start, Submit, Subscribe, lanes,
        wire::{Tier, server_frame::Kind},
    },
};
use automerge::{AutoCommit, Change, ROOT, transaction::Transactable};
use bytes::Bytes;
use quantum::{
    ChannelId, ClientOptions as QuantumOptions, Connection, ConnectionError, Endpoint, Identity, SendOptions, Trust,
};
use tokio::time::timeout;
use uuid::Uuid;

const WITHIN: Duration = Duration::from_secs(30);

/// A connection on which hello was said. The server is known by its fingerprint.
async fn connect(server: &Server, name: &str) -> Connection {
    let folder = server.options().data_dir.join("quantum");
    let identity = Identity::from_pem_files(&folder.join("certificate.pem"), &folder.join("key.pem")).unwrap();
    let options = QuantumOptions::new(&Trust::Pinned(vec![identity.fingerprint()]), [PROTOCOL]).unwrap();
    let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let connecting = endpoint.connect(&options, server.address(), "localhost");
    let connection = timeout(WITHIN, connecting).await.unwrap().unwrap();
    let hello = Hello {
        token: String::new(),
        client_id: name.to_owned(),
        resume_token: Bytes::new(),
        capabilities: Vec::new(),
    };
    say(&connection, None, ClientFrame::Hello(hello)).await;
    assert!(matches!(hear(&connection).await, Kind::Welcome(_)));
    connection
}

async fn say(connection: &Connection, document: Option<&DocumentId>, frame: ClientFrame) {
    let channel = ChannelId(lanes::channel(document));
    connection
        .send(channel, SendOptions::interactive(), frame.encode())
        .await
        .unwrap();
}

async fn hear(connection: &Connection) -> Kind {
    let message = timeout(WITHIN, connection.recv()).await.unwrap().unwrap();
    decode(&message.data).unwrap()
}

fn submit(request: u64, document: &DocumentId, change: &Change) -> ClientFrame {
    ClientFrame::Submit(Submit {
        request: RequestId(request),
        document: document.clone(),
        changes: vec![Bytes::copy_from_slice(change.raw_bytes())],
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_over_quantum_and_one_over_websocket_edit_one_document() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(ServerOptions::new(dir.path()).unwrap()).await.unwrap();
    let id = DocumentId::from_uuid(Uuid::new_v4());
    let stock = Client::start(
        "stock",
        ClientOptions::from(server.address()),
        [(id.clone(), Replica::new(edits::base().unwrap()))],
    );
    stock.until_connected(true, WITHIN).await.unwrap();
    let connection = connect(&server, "over quantum").await;

    // What is submitted over Quantum is on disk and reaches the other.
    let mut content = AutoCommit::new();
    let mut heads = Vec::new();
    for request in 1..=20 {
        content.put(ROOT, format!("key {request}"), request as i64).unwrap();
        content.commit();
        let change = content.get_last_local_change().unwrap();
        heads = vec![change.hash()];
        say(&connection, Some(&id), submit(request, &id, &change)).await;
        match hear(&connection).await {
            Kind::Receipt(receipt) => {
                assert_eq!((receipt.request_id, receipt.tier()), (request, Tier::Durable));
                assert_eq!(receipt.offsets.len(), 1);
            }
            other => panic!("{other:?}"),
        }
    }
    stock
        .until(&id, "the submitted changes are there", WITHIN, |replica| {
            heads.iter().all(|head| replica.has(head))
        })
        .await
        .unwrap();

    // What the other writes comes back as entries.
    let mut rng = rand::SeedableRng::seed_from_u64(3);
    let _: &rand::rngs::StdRng = &rng;
    stock.edit(&id, |content| edits::random(content, &mut rng)).unwrap();
    let theirs = stock.with(&id, Replica::heads);
    let start = Start::After(Offset(0));
    let subscribe = Subscribe {
        request: RequestId(21),
        document: id.clone(),
        start,
    };
    say(&connection, Some(&id), ClientFrame::Subscribe(subscribe)).await;
    let mut missing = theirs;
    let mut last = 0;
    while !missing.is_empty() {
        match hear(&connection).await {
            Kind::Ops(ops) => {
                for entry in ops.entries {
                    assert!(entry.offset > last, "entries come in order, each once");
                    last = entry.offset;
                    if let Ok(change) = Change::try_from(&entry.payload[..]) {
                        missing.retain(|head| *head != change.hash());
                    }
                }
            }
            other => panic!("{other:?}"),
        }
    }
    connection.finish().await;
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_is_told_that_the_server_was_restarted() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(ServerOptions::new(dir.path()).unwrap()).await.unwrap();
    let connection = connect(&server, "over quantum").await;
    let server = Server::start(server.kill().await.unwrap()).await.unwrap();
    // The new process has the secret of the old one, so that its reset is believed; otherwise this would time out.
    say(&connection, None, ClientFrame::Ping(1)).await;
    let end = timeout(2 * WITHIN, connection.closed()).await.unwrap();
    assert_eq!(end, ConnectionError::Reset);
    server.stop().await.unwrap();
}
