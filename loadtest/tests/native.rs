//! The native protocol on both transports, through the real server, beside the automerge-repo protocol.
//!
//! Needs `AETHERFLOW_BIN`.
#![allow(clippy::unwrap_used)]

use std::{collections::BTreeMap, time::Duration};

use aetherflow_loadtest::{
    client::{Client, ClientOptions, Dialect},
    edits, http,
    link::dial_quantum,
    native::{Connection, Transport},
    replica::Replica,
    server::{Server, ServerOptions},
    wire::WireError,
};
use aetherflow_schema::{
    id::{DocumentId, Offset},
    native::{
        ClientFrame, Fetch, Presence, RequestId, Start, Submit, Subscribe,
        wire::{RejectCode, Tier, server_frame::Kind},
    },
};
use automerge::{AutoCommit, Automerge, Change, ROOT, ReadDoc, transaction::Transactable};
use bytes::Bytes;
use hyper::Method;
use quantum::{ChannelId, ConnectionError, SendOptions, TransportConfig};
use rand::{SeedableRng, rngs::StdRng};
use uuid::Uuid;

macro_rules! on_both_transports {
    ($($test:ident)*) => {
        mod on_websocket {
            use super::Transport;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    super::$test(Transport::WebSocket).await;
                }
            )*
        }
        mod on_quantum {
            use super::Transport;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    super::$test(Transport::Quantum).await;
                }
            )*
        }
    };
}

on_both_transports! {
    clients_of_both_protocols_edit_one_document_and_become_equal
    after_a_kill_a_client_goes_on_from_its_offset_and_its_retries_are_stored_once
    a_late_client_gets_a_snapshot_by_nothing_or_by_heads_and_may_read_history
    a_server_that_stops_answers_sends_clients_away_and_closes_with_a_code
    a_session_goes_on_over_connections_and_restarts
}

const WITHIN: Duration = Duration::from_secs(30);

async fn start(dir: &tempfile::TempDir) -> Server {
    Server::start(ServerOptions::new(dir.path()).unwrap()).await.unwrap()
}

async fn open(transport: Transport, server: &Server, name: &str) -> Connection {
    let endpoint = server.endpoint().unwrap();
    Connection::open_on(transport, &endpoint, name).await.unwrap()
}

fn document() -> DocumentId {
    DocumentId::from_uuid(Uuid::new_v4())
}

fn submit(request: u64, document: &DocumentId, changes: &[Change]) -> ClientFrame {
    ClientFrame::Submit(Submit {
        request: RequestId(request),
        document: document.clone(),
        changes: changes
            .iter()
            .map(|change| Bytes::copy_from_slice(change.raw_bytes()))
            .collect(),
        fencing: None,
    })
}

fn subscribe(request: u64, document: &DocumentId, start: Start) -> ClientFrame {
    ClientFrame::Subscribe(Subscribe {
        request: RequestId(request),
        document: document.clone(),
        start,
    })
}

async fn receipt(connection: &mut Connection) -> Vec<u64> {
    match connection.hear().await.unwrap() {
        Kind::Receipt(receipt) => {
            assert_eq!(receipt.tier(), Tier::Durable);
            receipt.offsets
        }
        other => panic!("{other:?}"),
    }
}

/// The offsets and changes that a subscription brings, up to this offset.
async fn entries(connection: &mut Connection, last: u64) -> BTreeMap<u64, Bytes> {
    let mut entries = BTreeMap::new();
    while !entries.contains_key(&last) {
        match connection.hear().await.unwrap() {
            Kind::Ops(ops) => {
                for entry in ops.entries {
                    assert!(entries.insert(entry.offset, entry.payload).is_none(), "each comes once");
                }
            }
            other => panic!("{other:?}"),
        }
    }
    entries
}

/// So many changes.
fn changes(document: &mut AutoCommit, count: i64) -> Vec<Change> {
    let before = document.get_heads();
    for n in 0..count {
        let key = format!("key {}", document.keys(ROOT).count());
        document.put(ROOT, key, n).unwrap();
        document.commit();
    }
    document.get_changes(&before)
}

async fn clients_of_both_protocols_edit_one_document_and_become_equal(transport: Transport) {
    let dir = tempfile::tempdir().unwrap();
    let mut server = start(&dir).await;
    let id = document();
    let mut rng = StdRng::seed_from_u64(7);
    let clients: Vec<Client> = [
        Dialect::Repo,
        Dialect::Native(transport),
        Dialect::Repo,
        Dialect::Native(transport),
    ]
    .into_iter()
    .enumerate()
    .map(|(n, dialect)| {
        let options = ClientOptions {
            dialect,
            edit_interval: Duration::from_millis(10 * n as u64),
            ..ClientOptions::from(server.endpoint().unwrap())
        };
        let replica = Replica::new(edits::base().unwrap());
        Client::start(format!("{dialect:?} {n}"), options, [(id.clone(), replica)])
    })
    .collect();
    for round in 0..3 {
        for client in &clients {
            client.until_connected(true, WITHIN).await.unwrap();
        }
        for _ in 0..60 {
            for client in &clients {
                client.edit(&id, |content| edits::random(content, &mut rng)).unwrap();
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        if round < 2 {
            // The second time it is asked to stop, and says so.
            let options = if round == 0 {
                server.kill().await
            } else {
                server.stop().await
            };
            server = Server::start(options.unwrap()).await.unwrap();
        }
    }
    let mut union = Vec::new();
    for client in &clients {
        union.extend(client.with(&id, Replica::heads));
    }
    for client in &clients {
        let complete = |replica: &mut Replica| replica.is_in_sync() && union.iter().all(|head| replica.has(head));
        client
            .until(&id, "everything is everywhere", WITHIN, complete)
            .await
            .unwrap();
    }
    let content = clients[0].with(&id, Replica::content);
    assert_eq!(clients[0].with(&id, Replica::changes), 1 + 3 * 60 * 4);
    for client in &clients {
        assert_eq!(client.with(&id, Replica::content), content, "{}", client.name());
    }
}

async fn after_a_kill_a_client_goes_on_from_its_offset_and_its_retries_are_stored_once(transport: Transport) {
    let dir = tempfile::tempdir().unwrap();
    let mut server = start(&dir).await;
    let id = document();
    let mut content = AutoCommit::new();
    let mut connection = open(transport, &server, "writer").await;
    let mut offsets = Vec::new();
    let mut all = Vec::new();
    for request in 1..=40 {
        let changes = changes(&mut content, 5);
        connection.say(submit(request, &id, &changes)).await.unwrap();
        all.extend(changes);
    }
    for _ in 1..=40 {
        offsets.extend(receipt(&mut connection).await);
    }
    assert!(offsets.is_sorted_by(|a, b| a < b));

    for kill in 0..3 {
        // What is on its way when the server dies has no receipt; all that has one is there.
        let more = changes(&mut content, 3);
        connection.say(submit(100, &id, &more)).await.unwrap();
        if kill == 1 {
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        let options = server.kill().await.unwrap();
        server = Server::start(options).await.unwrap();
        connection = open(transport, &server, "writer").await;
        connection.say(submit(1, &id, &all)).await.unwrap();
        assert_eq!(receipt(&mut connection).await, offsets, "a retry of everything");
        connection.say(submit(2, &id, &more)).await.unwrap();
        offsets.extend(receipt(&mut connection).await);
        all.extend(more);
    }

    // From any offset exactly the rest, in order.
    for seen in [0, 1, 77, offsets.len() - 1] {
        let mut reader = open(transport, &server, "reader").await;
        let cursor = Offset(if seen == 0 { 0 } else { offsets[seen - 1] });
        reader.say(subscribe(1, &id, Start::After(cursor))).await.unwrap();
        let found = entries(&mut reader, *offsets.last().unwrap()).await;
        assert!(found.keys().eq(&offsets[seen..]));
        assert!(found.values().eq(all[seen..].iter().map(|change| change.raw_bytes())));
    }
    assert_eq!(server.verify().await.unwrap().0, Vec::<String>::new());
}

async fn a_late_client_gets_a_snapshot_by_nothing_or_by_heads_and_may_read_history(transport: Transport) {
    let dir = tempfile::tempdir().unwrap();
    let server = start(&dir).await;
    let id = document();
    let mut content = AutoCommit::new();
    let mut connection = open(transport, &server, "writer").await;
    connection
        .say(submit(1, &id, &changes(&mut content, 500)))
        .await
        .unwrap();
    let early = receipt(&mut connection).await;
    let then = content.get_heads();
    let mut old = content.clone();
    connection
        .say(submit(2, &id, &changes(&mut content, 20)))
        .await
        .unwrap();
    let late = receipt(&mut connection).await;

    connection.say(subscribe(3, &id, Start::Snapshot)).await.unwrap();
    let Kind::Snapshot(whole) = connection.hear().await.unwrap() else {
        panic!("no snapshot");
    };
    assert_eq!(whole.offset, *late.last().unwrap());
    assert_eq!(Automerge::load(&whole.bytes).unwrap().get_heads(), content.get_heads());
    let heads = then
        .iter()
        .map(|hash| aetherflow_schema::id::ChangeHash(hash.0))
        .collect();
    connection
        .say(subscribe(4, &id, Start::AfterHeads(heads)))
        .await
        .unwrap();
    let Kind::Snapshot(missing) = connection.hear().await.unwrap() else {
        panic!("no snapshot");
    };
    old.load_incremental(&missing.bytes).unwrap();
    assert_eq!(old.get_heads(), content.get_heads());

    let fetch = Fetch {
        request: RequestId(5),
        document: id.clone(),
        from: Offset(early[10]),
        until: Some(Offset(late[5])),
    };
    connection.say(ClientFrame::Fetch(fetch)).await.unwrap();
    let mut offsets = Vec::new();
    loop {
        let Kind::Ops(ops) = connection.hear().await.unwrap() else {
            panic!("no entries");
        };
        assert_eq!(ops.request_id, Some(5));
        offsets.extend(ops.entries.iter().map(|entry| entry.offset));
        if ops.last {
            break;
        }
    }
    assert!(offsets.iter().eq(early[10..].iter().chain(&late[..5])));
    let ahead = subscribe(6, &id, Start::After(Offset(late[19] + 1_000)));
    connection.say(ahead).await.unwrap();
    let Kind::Reject(reject) = connection.hear().await.unwrap() else {
        panic!("not rejected");
    };
    assert_eq!((reject.request_id, reject.code()), (6, RejectCode::NoSuchPlace));
}

async fn a_server_that_stops_answers_sends_clients_away_and_closes_with_a_code(transport: Transport) {
    let dir = tempfile::tempdir().unwrap();
    let server = start(&dir).await;
    let mut connection = open(transport, &server, "client").await;
    let stopping = tokio::spawn(server.stop());
    let Kind::GoAway(go_away) = connection.hear().await.unwrap() else {
        panic!("not sent away");
    };
    assert_eq!(go_away.code, 1001);
    let ending = connection.hear().await.unwrap_err();
    assert!(matches!(ending, WireError::Closed { code: Some(1001), .. }), "{ending}");
    stopping.await.unwrap().unwrap();
}

/// What the server says of a session.
async fn session(server: &Server, id: &Bytes) -> serde_json::Value {
    let path = format!("/v1/sessions/{}", Uuid::from_slice(id).unwrap());
    let answer = http::ask(server.address(), Method::GET, &path, WITHIN).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

/// Waits until the server has noticed that the connection is gone.
async fn disconnected(server: &Server, id: &Bytes) {
    let noticed = async {
        while session(server, id).await["state"] != "disconnecting" {
            // Between two looks; nothing else tells.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(WITHIN, noticed).await.unwrap();
}

/// Resumed by its token alone: after the connection is gone, after the server was killed, and not with an earlier token. With
/// it are its cursors, and what the client was present with.
async fn a_session_goes_on_over_connections_and_restarts(transport: Transport) {
    let dir = tempfile::tempdir().unwrap();
    let mut server = start(&dir).await;
    let id = document();
    let mut first = open(transport, &server, "client").await;
    first.say(subscribe(1, &id, Start::After(Offset(0)))).await.unwrap();
    let three = changes(&mut AutoCommit::new(), 3);
    first.say(submit(2, &id, &three)).await.unwrap();
    let (mut last, mut told) = (None, 0);
    // Which of them comes first is open.
    while last.is_none_or(|last| told < last) {
        match first.hear().await.unwrap() {
            Kind::Ops(ops) => told = ops.entries.last().unwrap().offset,
            Kind::Receipt(receipt) => last = receipt.offsets.last().copied(),
            other => panic!("{other:?}"),
        }
    }
    let presence = Presence {
        document: id.clone(),
        state: Bytes::from_static(b"typing"),
        ttl_ms: 3_600_000,
    };
    first.say(ClientFrame::Presence(presence)).await.unwrap();
    // It is about the same document, so that what came before was acted on when it is answered.
    let fetch = Fetch {
        request: RequestId(3),
        document: id.clone(),
        from: Offset(1),
        until: None,
    };
    first.say(ClientFrame::Fetch(fetch)).await.unwrap();
    while !matches!(first.hear().await.unwrap(), Kind::Ops(ops) if ops.request_id == Some(3) && ops.last) {}
    let session_id = first.welcome().session_id.clone();
    let oldest = first.welcome().resume_token.clone();
    assert!(!first.welcome().resumed && !oldest.is_empty());
    let mut token = oldest.clone();
    drop(first);
    disconnected(&server, &session_id).await;
    let path = format!("/v1/documents/{id}/presence");
    let here = http::ask(server.address(), Method::GET, &path, WITHIN).await.unwrap();
    assert_eq!(here.json()["present"][0]["state"], "dHlwaW5n", "{}", here.text());
    for restarts in [false, true, false] {
        if restarts {
            let options = server.kill().await.unwrap();
            server = Server::start(options).await.unwrap();
        }
        let endpoint = server.endpoint().unwrap();
        let mut again = Connection::resume_on(transport, &endpoint, "client", token)
            .await
            .unwrap();
        assert!(again.welcome().resumed, "restarted: {restarts}");
        assert_eq!(again.welcome().session_id, session_id);
        let cursors = session(&server, &session_id).await["cursors"].clone();
        assert_eq!(
            cursors,
            serde_json::json!({id.to_string(): last}),
            "restarted: {restarts}"
        );
        token = again.welcome().resume_token.clone();
        // It is heard of: from now on only the newest token is good.
        again.say(ClientFrame::Ping(7)).await.unwrap();
        assert!(matches!(again.hear().await.unwrap(), Kind::Pong(_)));
    }
    let endpoint = server.endpoint().unwrap();
    let stale = Connection::resume_on(transport, &endpoint, "client", oldest)
        .await
        .unwrap();
    assert!(!stale.welcome().resumed);
    assert_ne!(stale.welcome().session_id, session_id);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_on_quantum_is_told_that_the_server_was_restarted() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(&dir).await;
    let patient = TransportConfig {
        idle_timeout: WITHIN,
        ..TransportConfig::default()
    };
    let endpoint = server.endpoint().unwrap();
    let connection = dial_quantum(&endpoint, patient).await.unwrap();
    // The new process has the secret of the old one, so that its reset is believed.
    let server = Server::start(server.kill().await.unwrap()).await.unwrap();
    let ping = ClientFrame::Ping(1).encode();
    // It may have heard of it already, by a packet that it sent by itself: then nothing can be sent any more.
    let _ = connection.send(ChannelId(0), SendOptions::interactive(), ping).await;
    assert_eq!(connection.closed().await, ConnectionError::Reset);
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_quantum_does_is_counted_and_logged() {
    let dir = tempfile::tempdir().unwrap();
    let qlog = dir.path().join("qlog");
    let options = ServerOptions::new(dir.path())
        .unwrap()
        .set("quantum.qlog", qlog.display());
    let server = Server::start(options).await.unwrap();
    let mut connection = open(Transport::Quantum, &server, "client").await;
    let id = document();
    for request in 1..=3 {
        let one = changes(&mut AutoCommit::new(), 1);
        connection.say(submit(request, &id, &one)).await.unwrap();
        receipt(&mut connection).await;
    }
    let admin = server.options().admin;
    let answer = http::ask(admin, Method::GET, "/metrics", WITHIN).await.unwrap();
    let text = answer.text();
    let value = |name: &str| -> f64 {
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
    };
    assert_eq!(value("quantum_messages_received_total"), 4.0);
    assert_eq!(value("quantum_messages_sent_total"), 4.0);
    assert_eq!(value("quantum_endpoint_accepted_total"), 1.0);
    assert!(value("quantum_packets_received_total") >= 4.0);
    assert!(value("quantum_rtt_seconds{quantile=\"1\"}") > 0.0);
    assert!(text.contains("quantum_connections{bbr_state="));
    drop(connection);
    server.stop().await.unwrap();
    let files: Vec<_> = std::fs::read_dir(&qlog).unwrap().collect();
    assert_eq!(files.len(), 1);
    let log = std::fs::read_to_string(files[0].as_ref().unwrap().path()).unwrap();
    assert!(log.contains("packet_received") && log.contains("packet_sent"));
}
