//! Documents: edited through both protocols, resumed from offsets, read from nothing.

use std::time::Duration;

use aetherflow_loadtest::{
    client::{Client, ClientOptions, Dialect},
    edits,
    native::Transport,
    replica::Replica,
    server::Server,
};
use aetherflow_schema::{
    id::Offset,
    native::{
        ClientFrame, Fetch, RequestId, Start,
        wire::{RejectCode, server_frame::Kind},
    },
};
use automerge::{AutoCommit, Automerge};
use rand::{SeedableRng, rngs::StdRng};

use super::steps::{WITHIN, changes, document, entries, open, receipt, start, submit, subscribe};

pub(crate) async fn clients_of_both_protocols_edit_one_document_and_become_equal(transport: Transport) {
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

pub(crate) async fn after_a_kill_a_client_goes_on_from_its_offset_and_its_retries_are_stored_once(
    transport: Transport,
) {
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

pub(crate) async fn a_late_client_gets_a_snapshot_by_nothing_or_by_heads_and_may_read_history(transport: Transport) {
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
