//! Edits and their receipts.

use aetherflow_client::{
    Carrier, Client, Document, Options, RejectCode, SubmitError,
    automerge::{AutomergeError, ROOT, transaction::Transactable},
};
use aetherflow_loadtest::server::{Server, ServerOptions};
use aetherflow_schema::{id::Offset, native::Start};
use tokio::time::timeout;

use super::{
    setup::{WITHIN, document, has, impatient, is_stored, keys, online, over_quantum, over_websocket, put, start},
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
