//! Documents over a log, spoken to as peers do: real sync messages, and sinks that remember what they were told.

use std::sync::Arc;

use aetherflow_schema::{
    documents::{At, Documents, PeerFrame},
    id::{ChangeHash, DocumentId, StorageId},
};
use aetherflow_statesync::Statesync;
use automerge::{ROOT, ReadDoc, transaction::Transactable};

use crate::common::{Client, document, eventually, grant, memory, server, start};

#[tokio::test(flavor = "multi_thread")]
async fn two_clients_converge_through_the_log() {
    let (statesync, _) = start(memory());
    let id = document(1);
    let mut one = Client::open(&statesync, &id).await;
    let mut two = Client::open(&statesync, &id).await;
    for n in 0..50 {
        one.doc.put(ROOT, format!("one-{n}"), n).unwrap();
        two.doc.put(ROOT, format!("two-{n}"), n).unwrap();
        one.exchange().await;
        two.exchange().await;
    }
    eventually("the clients have the same heads", async || {
        one.exchange().await;
        two.exchange().await;
        one.doc.get_heads() == two.doc.get_heads()
    })
    .await;
    assert_eq!(one.doc.keys(ROOT).count(), 100);
    let json = statesync.read(grant(&id), At::Now).await.unwrap();
    assert_eq!(json.changes, 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_is_there_after_a_restart_and_a_late_joiner_needs_no_materialized_document() {
    let storage = memory();
    let (statesync, log) = start(storage.clone());
    let id = document(1);
    let mut writer = Client::open(&statesync, &id).await;
    for n in 0..200 {
        writer.doc.put(ROOT, "n", n).unwrap();
        writer.doc.commit();
    }
    writer.until_saved().await;
    eventually("a snapshot is taken", async || log.snapshot(&id).unwrap().is_some()).await;
    drop(statesync);

    let (statesync, _) = start(storage);
    let mut late = Client::open(&statesync, &id).await;
    late.request().await;
    eventually("the late joiner has everything", async || {
        late.exchange().await;
        late.doc.get_heads() == writer.doc.get_heads()
    })
    .await;
    let (_, memory) = statesync.usage();
    assert!(
        memory < 100_000,
        "{memory} bytes: the document was materialized to be sent"
    );
    late.doc.put(ROOT, "late", true).unwrap();
    late.until_saved().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_document_is_unavailable_and_is_pushed_when_it_appears() {
    let (statesync, _) = start(memory());
    let id = document(1);
    let mut seeker = Client::open(&statesync, &id).await;
    seeker.request().await;
    eventually("it is told that the document is unavailable", async || {
        seeker.exchange().await;
        seeker.unavailable == 1
    })
    .await;
    let mut holder = Client::open(&statesync, &id).await;
    holder.doc.put(ROOT, "here", true).unwrap();
    holder.until_saved().await;
    eventually("it gets the document after all", async || {
        seeker.exchange().await;
        seeker.doc.get_heads() == holder.doc.get_heads()
    })
    .await;
    assert_eq!(seeker.unavailable, 1);
}

/// Somebody who announced changes of a document, and has not sent them.
async fn announce(statesync: &Statesync, id: &DocumentId) -> Client {
    let mut holder = Client::open(statesync, id).await;
    holder.doc.put(ROOT, "here", true).unwrap();
    // The first message of a holder announces its heads and carries no changes.
    holder.send_next().await;
    holder.receive_one().await;
    holder
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_overtakes_an_upload_waits_for_it() {
    let (statesync, _) = start(memory());
    let id = document(1);
    let mut holder = announce(&statesync, &id).await;
    let mut seeker = Client::open(&statesync, &id).await;
    seeker.request().await;
    holder.until_saved().await;
    eventually("the seeker has it", async || {
        seeker.exchange().await;
        seeker.doc.get_heads() == holder.doc.get_heads()
    })
    .await;
    assert_eq!(seeker.unavailable, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_announcement_that_is_never_kept_ends_in_unavailable() {
    let (statesync, _) = start(memory());
    let id = document(1);
    let holder = announce(&statesync, &id).await;
    let mut seeker = Client::open(&statesync, &id).await;
    seeker.request().await;
    drop(holder);
    eventually("the seeker is told", async || {
        seeker.exchange().await;
        seeker.unavailable == 1
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_edit_is_said_so_and_asked_for_when_the_log_takes_writes_again() {
    let storage = memory();
    let (statesync, log) = start(storage.clone());
    let id = document(1);
    let mut client = Client::open(&statesync, &id).await;
    client.doc.put(ROOT, "a", 1).unwrap();
    client.until_saved().await;
    storage.fail_next_write("the disk is full");
    client.doc.put(ROOT, "b", 2).unwrap();
    client.doc.commit();
    eventually("the client is told", async || {
        client.send_next().await;
        client
            .receive_all()
            .iter()
            .any(|frame| matches!(frame, PeerFrame::Refused { reason, .. } if reason.contains("the disk is full")))
    })
    .await;
    let json = statesync.read(grant(&id), At::Now).await.unwrap();
    assert_eq!(
        json.content,
        serde_json::json!({"a": 1}),
        "reads go on, without what is not committed"
    );
    log.resume().await.unwrap();
    statesync.resumed().await;
    client.until_saved().await;
    let json = statesync.read(grant(&id), At::Now).await.unwrap();
    assert_eq!(json.content, serde_json::json!({"a": 1, "b": 2}));
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_of_storages_are_told_to_those_who_asked_after_the_commit() {
    let (statesync, _) = start(memory());
    let id = document(1);
    let laptop = StorageId(Arc::from("a-laptop"));
    let mut watcher = Client::open(&statesync, &id).await;
    watcher.sink.want(&[server(), laptop.clone()]);
    let mut writer = Client::open_with_storage(&statesync, &id, laptop.clone()).await;
    writer.doc.put(ROOT, "a", 1).unwrap();
    writer.until_saved().await;
    let expected: Vec<ChangeHash> = writer.doc.get_heads().iter().map(|hash| ChangeHash(hash.0)).collect();
    let mut told = Vec::new();
    eventually("both are told", async || {
        told.extend(watcher.receive_all().into_iter().filter_map(|frame| match frame {
            PeerFrame::RemoteHeads { storage, heads, .. } if *heads == *expected => Some(storage),
            _ => None,
        }));
        told.contains(&server()) && told.contains(&laptop)
    })
    .await;
    let late = Client::open(&statesync, &id).await;
    late.session.announce(vec![laptop.clone()]).await.unwrap();
    let mut late = late;
    eventually("a later subscriber is told what is known", async || {
        late.receive_all()
            .iter()
            .any(|frame| matches!(frame, PeerFrame::RemoteHeads { storage, .. } if *storage == laptop))
    })
    .await;
}
