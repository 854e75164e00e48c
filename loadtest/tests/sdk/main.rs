//! The Rust client, through the real server, over both transports.
//!
//! Needs `AETHERFLOW_BIN`.
#![allow(clippy::unwrap_used)]

mod setup;
mod tap;

use std::{
    collections::BTreeSet,
    env,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use aetherflow_client::{
    Carrier, Client, Document, Fallback, Link, Options, RejectCode, Retry, Status, SubmitError, Timeouts, Trust,
    automerge::{AutomergeError, ROOT, transaction::Transactable},
};
use aetherflow_loadtest::server::{Server, ServerOptions};
use aetherflow_schema::{id::Offset, native::Start};
use quantum::Identity;
use tokio::{
    net::UdpSocket,
    time::{sleep, timeout},
};

use self::{
    setup::{
        WITHIN, document, fingerprint, has, impatient, is_stored, keys, online, over_quantum, over_websocket, put,
        start, until,
    },
    tap::Tap,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_on_quantum_and_one_on_websocket_get_receipts_and_become_equal() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(&dir).await;
    let id = document();
    let one = over_quantum(&server, impatient()).await;
    let two = over_websocket(&server, impatient()).await;
    assert_eq!(
        (online(&one).await, online(&two).await),
        (Carrier::Quantum, Carrier::WebSocket)
    );
    let (first, second) = (one.open(&id).await.unwrap(), two.open(&id).await.unwrap());
    let write = |document: Document, name: &'static str| async move {
        let mut receipts = Vec::new();
        for n in 0..100 {
            receipts.push(put(&document, format!("{name} {n}")).await);
        }
        let mut last = Offset::ZERO;
        for receipt in receipts {
            let offset = timeout(WITHIN, receipt).await.unwrap().unwrap().offset;
            assert!(offset > last, "receipts of one document come in order");
            last = offset;
        }
    };
    tokio::join!(write(first.clone(), "one"), write(second.clone(), "two"));
    for document in [&first, &second] {
        has(document, "everything is everywhere", |content| {
            keys(content).len() == 200
        })
        .await;
    }
    assert_eq!(first.heads(), second.heads());
    // An edit that fails has not happened, one that does nothing needs no server.
    let failed = first.change(|_| Err::<(), _>(AutomergeError::NotAnObject)).await;
    assert!(failed.is_err());
    let nothing = first.change(|_| Ok::<_, AutomergeError>(7)).await.unwrap();
    assert_eq!((nothing.hash(), nothing.value), (None, 7));
    for client in [one, two] {
        client.close(WITHIN).await.unwrap();
    }
    server.stop().await.unwrap();
}

/// Runs as a process of its own, see below: edits without a server, and dies of it.
#[tokio::test]
#[ignore = "a part of another test"]
async fn edits_offline_and_is_killed() {
    let (Ok(store), Ok(id)) = (env::var("SDK_STORE"), env::var("SDK_DOCUMENT")) else {
        return;
    };
    let client = over_nothing(Path::new(&store)).await;
    let document = client.open(&id.parse().unwrap()).await.unwrap();
    let before = document.with(|content| keys(content).len());
    for n in before..before + 50 {
        let mut receipt = put(&document, format!("offline {n}")).await;
        receipt.kept().await.unwrap();
    }
    std::process::abort();
}

/// A client that reaches nobody.
async fn over_nothing(store: &Path) -> Client {
    let options = Options {
        store: Some(store.to_owned()),
        ..impatient()
    };
    // Nobody listens at the discard port.
    Client::connect("ws://127.0.0.1:9", options).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offline_edits_survive_the_death_of_the_client_and_are_delivered_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    let id = document();
    for _ in 0..2 {
        let mut child = Command::new(env::current_exe().unwrap());
        child.args(["--ignored", "--exact", "edits_offline_and_is_killed"]);
        child.env("SDK_STORE", &store).env("SDK_DOCUMENT", id.to_string());
        let status = child.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
        assert!(!status.success(), "it was to die");
    }
    // They are there before there is a server.
    let expected: BTreeSet<_> = (0..100).map(|n| format!("offline {n}")).collect();
    let client = over_nothing(&store).await;
    let reopened = client.open(&id).await.unwrap();
    reopened.loaded(WITHIN).await.unwrap();
    assert_eq!(reopened.with(keys), expected);
    assert_eq!(client.status().borrow().unsettled, 100);
    drop((reopened, client));

    let server = start(&dir).await;
    let options = || Options {
        store: Some(store.clone()),
        ..impatient()
    };
    // Whether the document is opened or not.
    let client = until_free(&server, options()).await;
    until(client.status(), "all have receipts", |status| {
        status.unsettled == 0 && status.link.is_online()
    })
    .await;
    client.close(WITHIN).await.unwrap();
    // The next client has nothing to send.
    let client = over_nothing(&store).await;
    client.open(&id).await.unwrap();
    assert_eq!(client.status().borrow().unsettled, 0);
    client.close(WITHIN).await.unwrap();
    let client = over_quantum(&server, options()).await;
    let document = client.open(&id).await.unwrap();
    timeout(WITHIN, put(&document, "online").await).await.unwrap().unwrap();
    client.close(WITHIN).await.unwrap();
    assert_eq!(server.verify().await.unwrap(), (Vec::new(), 101));
    let fresh = over_websocket(&server, impatient()).await;
    let document = fresh.open(&id).await.unwrap();
    document.loaded(WITHIN).await.unwrap();
    assert_eq!(document.with(|content| content.get_changes(&[]).len()), 101);
    server.stop().await.unwrap();
}

/// The last client gives the store back when its task has ended.
async fn until_free(server: &Server, options: Options) -> Client {
    for _ in 0..1_000 {
        match Client::connect(&format!("ws://{}", server.address()), options.clone()).await {
            Ok(client) => return client,
            Err(error) if error.retry() == Retry::Same => sleep(Duration::from_millis(10)).await,
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the store is still used");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_in_mid_editing_loses_nothing_acknowledged_and_clients_resume() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = start(&dir).await;
    let id = document();
    let tap = Tap::start(server.address()).await;
    let store = dir.path().join("store");
    let over_tap = |store| Client::connect(tap.url(), Options { store, ..impatient() });
    let clients = [
        over_quantum(&server, impatient()).await,
        over_tap(Some(store)).await.unwrap(),
    ];
    let mut documents = Vec::new();
    for client in &clients {
        online(client).await;
        let document = client.open(&id).await.unwrap();
        document.loaded(WITHIN).await.unwrap();
        documents.push(document);
    }
    let mut acknowledged = Vec::new();
    let mut written = 0;
    for round in 0..4 {
        let mut receipts = Vec::new();
        for n in 0..100 {
            for (number, document) in documents.iter().enumerate() {
                receipts.push(put(document, format!("{round} {n} {number}")).await);
                written += 1;
            }
            if n == 50 {
                // Some are acknowledged, some on their way; the second time it says goodbye.
                timeout(WITHIN, receipts.remove(0)).await.unwrap().unwrap();
                let options = if round == 1 {
                    server.stop().await
                } else {
                    server.kill().await
                };
                server = Server::start(options.unwrap()).await.unwrap();
            }
        }
        for receipt in receipts {
            let hash = receipt.hash().unwrap();
            timeout(WITHIN, receipt).await.unwrap().unwrap();
            acknowledged.push(hash);
        }
    }
    let fresh = over_quantum(&server, impatient()).await;
    documents.push(fresh.open(&id).await.unwrap());
    for document in &documents {
        has(document, "everything is everywhere", |content| {
            keys(content).len() == written
        })
        .await;
        assert_eq!(document.heads(), documents[0].heads());
        let lost = acknowledged
            .iter()
            .filter(|hash| !document.with(|content| is_stored(content, hash)));
        assert_eq!(lost.count(), 0);
    }
    // Once from nothing, then from where it was.
    let starts = tap.starts();
    assert_eq!(starts[0], Start::Snapshot);
    assert!(starts.len() > 4, "{starts:?}");
    let cursors: Vec<_> = starts[1..]
        .iter()
        .map(|start| match start {
            Start::After(cursor) => *cursor,
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(cursors.is_sorted() && cursors.first() < cursors.last(), "{cursors:?}");
    assert_eq!(server.verify().await.unwrap().0, Vec::<String>::new());
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_documents_and_many_of_them_go_over_quantum() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(&dir).await;
    let (one, two) = (
        over_quantum(&server, impatient()).await,
        over_quantum(&server, impatient()).await,
    );
    let large = one.create().await.unwrap();
    let mut receipts = Vec::new();
    for n in 0..5 {
        // Noise, since changes are compressed.
        let noise: Vec<u8> = (0..2_000_000).map(|_| rand::random()).collect();
        receipts.push(
            large
                .change(|tx| tx.put(ROOT, format!("part {n}"), noise))
                .await
                .unwrap(),
        );
    }
    let mut small = Vec::new();
    for n in 0..100 {
        let document = one.create().await.unwrap();
        for key in 0..20 {
            receipts.push(put(&document, format!("{n} {key}")).await);
        }
        small.push(document);
    }
    for receipt in receipts {
        timeout(WITHIN, receipt).await.unwrap().unwrap();
    }
    for document in small.iter().chain([&large]) {
        let other = two.open(document.id()).await.unwrap();
        has(&other, "all of it is there", |content| {
            keys(content) == document.with(keys)
        })
        .await;
        assert_eq!(other.heads(), document.heads());
    }
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_udp_does_not_get_through_websocket_does() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(&dir).await;
    // Takes packets and says nothing.
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let options = || Options {
        trust: Trust::Fingerprints(vec![fingerprint(&server)]),
        fallback: Fallback::At(format!("ws://{}", server.address())),
        ..impatient()
    };
    let blocked = format!("quantum://{}", silent.local_addr().unwrap());
    let client = Client::connect(&blocked, options()).await.unwrap();
    // Far less than the Quantum handshake is given, and the first attempt.
    let status = timeout(
        Duration::from_secs(8),
        until(client.status(), "online", |status| status.link.is_online()),
    );
    let Link::Online { carrier, .. } = status.await.unwrap().link else {
        panic!("not online");
    };
    assert_eq!(carrier, Carrier::WebSocket);
    let document = client.create().await.unwrap();
    timeout(WITHIN, put(&document, "a").await).await.unwrap().unwrap();
    // Where it does get through, the same options lead to Quantum.
    let address = format!("quantum://{}", server.address());
    let patient = Options {
        timeouts: Timeouts {
            head_start: WITHIN,
            ..Timeouts::default()
        },
        ..options()
    };
    let direct = Client::connect(&address, patient).await.unwrap();
    assert_eq!(online(&direct).await, Carrier::Quantum);
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_present_is_seen_to_come_to_change_and_to_leave() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(&dir).await;
    let id = document();
    let (one, two) = (
        over_quantum(&server, impatient()).await,
        over_websocket(&server, impatient()).await,
    );
    let (first, second) = (one.open(&id).await.unwrap(), two.open(&id).await.unwrap());
    for document in [&first, &second] {
        document.loaded(WITHIN).await.unwrap();
    }
    let hour = Duration::from_secs(3600);
    let shows = |state: &'static str| {
        let watched = second.presence().subscribe();
        async move {
            until(watched, state, |everybody| match state {
                "" => everybody.is_empty(),
                _ => everybody.values().any(|present| present.state == state),
            })
            .await
        }
    };
    first.presence().set("cursor at 1", hour).await.unwrap();
    assert_eq!(shows("cursor at 1").await.len(), 1);
    first.presence().set("cursor at 2", hour).await.unwrap();
    assert_eq!(shows("cursor at 2").await.len(), 1);
    first.presence().clear().await.unwrap();
    shows("").await;
    first.presence().set("back", hour).await.unwrap();
    shows("back").await;
    assert!(first.presence().everybody().is_empty(), "one does not see oneself");
    // Long before its hour is over.
    one.close(WITHIN).await.unwrap();
    shows("").await;
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_with_another_certificate_is_not_spoken_to() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(&dir).await;
    let other = Identity::self_signed(["localhost"]).unwrap().fingerprint();
    let address = format!("quantum://{}", server.address());
    let options = Options {
        trust: Trust::Fingerprints(vec![other]),
        ..impatient()
    };
    let client = Client::connect(&address, options).await.unwrap();
    let document = client.create().await.unwrap();
    let receipt = put(&document, "secret").await;
    // Tries again and again, and is never online.
    let mut last = None;
    for _ in 0..4 {
        let failed = |status: &Status| match &status.link {
            Link::Offline { retry_at, .. } => last < Some(*retry_at),
            link => link.is_online(),
        };
        match until(client.status(), "another attempt", failed).await.link {
            Link::Offline { reason, retry_at } => {
                assert!(reason.contains("certificate"), "{reason}");
                last = Some(retry_at);
            }
            other => panic!("{other:?}"),
        }
    }
    client.close(Duration::ZERO).await.unwrap_err();
    assert_eq!(receipt.await, Err(SubmitError::Closed));
    assert_eq!(server.verify().await.unwrap().1, 0, "nothing was told");
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_server_does_not_take_is_taken_back_and_the_rest_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let options = ServerOptions::new(dir.path())
        .unwrap()
        .set("limits.change_bytes", 64 << 10);
    let server = Server::start(options).await.unwrap();
    let client = over_quantum(&server, impatient()).await;
    online(&client).await;
    let document = client.create().await.unwrap();
    let good = put(&document, "good").await;
    // Noise, since changes are compressed.
    let noise: Vec<u8> = (0..200_000).map(|_| rand::random()).collect();
    let large = document.change(|tx| tx.put(ROOT, "large", noise)).await.unwrap();
    timeout(WITHIN, good).await.unwrap().unwrap();
    match timeout(WITHIN, large).await.unwrap() {
        Err(SubmitError::Refused(refusal)) => assert_eq!(refusal.code, RejectCode::TooLarge),
        other => panic!("{other:?}"),
    }
    let after = put(&document, "after").await;
    timeout(WITHIN, after).await.unwrap().unwrap();
    assert_eq!(document.with(keys), ["after".to_owned(), "good".to_owned()].into());
    client.close(WITHIN).await.unwrap();
    server.stop().await.unwrap();
}
