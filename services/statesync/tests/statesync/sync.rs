//! Documents over a log, spoken to as peers do: real sync messages, and sinks that remember what they were told.

use std::{sync::Arc, time::Duration};

use crate::common::{Client, document, eventually, grant, grant_write, server};
use aetherflow_log_core::{Storage, memory::MemoryStorage};
use aetherflow_oplog::{LogHandle, LogOptions};
use aetherflow_schema::{
    documents::{At, DocumentError, Documents, PeerFrame},
    id::{ChangeHash, StorageId},
};
use aetherflow_statesync::{Statesync, StatesyncOptions};
use automerge::{AutoCommit, ROOT, ReadDoc, sync, transaction::Transactable};

fn start(storage: Arc<dyn Storage>) -> Statesync {
    let log = LogHandle::start(storage, LogOptions::default()).unwrap();
    Statesync::new(log, StatesyncOptions::new(server()))
}

fn memory() -> Arc<MemoryStorage> {
    Arc::new(MemoryStorage::new(4))
}

#[tokio::test(flavor = "multi_thread")]
async fn two_clients_converge_through_the_log() {
    let statesync = start(memory());
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
async fn changes_of_a_peer_that_may_only_read_reach_nobody_and_it_goes_on_reading() {
    let storage = memory();
    let statesync = start(storage.clone());
    let id = document(1);
    let mut writer = Client::open(&statesync, &id).await;
    writer.doc.put(ROOT, "n", 0).unwrap();
    writer.until_saved().await;
    let mut reader = Client::open(&statesync, &id).await;
    reader.reads_only = true;
    reader.is_stubborn = true;
    reader.request().await;
    eventually("the reader has the document", async || {
        reader.exchange().await;
        reader.doc.get(ROOT, "n").unwrap().is_some()
    })
    .await;
    let mut refusals = 0;
    for n in 1..=20 {
        reader.doc.put(ROOT, "hidden", n).unwrap();
        reader.doc.commit();
        reader.send_next().await;
        writer.doc.put(ROOT, "n", n).unwrap();
        writer.until_saved().await;
        eventually("the reader has what is new, and its change was refused", async || {
            let frames = reader.receive_all();
            refusals += frames
                .iter()
                .filter(|frame| matches!(frame, PeerFrame::Refused { .. }))
                .count();
            reader.send_next().await;
            reader.doc.get(ROOT, "n").unwrap().unwrap().0.as_i64() == Some(n) && refusals as i64 >= n
        })
        .await;
    }
    let json = statesync.read(grant(&id), At::Now).await.unwrap();
    assert_eq!((json.changes, json.content), (21, serde_json::json!({"n": 20})));
    drop(statesync);
    let json = start(storage).read(grant(&id), At::Now).await.unwrap();
    assert_eq!(json.changes, 21, "nothing of it is in the log either");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_may_write_at_last_is_asked_for_what_was_refused() {
    let statesync = start(memory());
    let id = document(1);
    let mut writer = Client::open(&statesync, &id).await;
    writer.doc.put(ROOT, "n", 0).unwrap();
    writer.until_saved().await;
    let mut reader = Client::open(&statesync, &id).await;
    reader.reads_only = true;
    reader.request().await;
    eventually("the reader has the document", async || {
        reader.exchange().await;
        reader.doc.get(ROOT, "n").unwrap().is_some()
    })
    .await;
    reader.doc.put(ROOT, "early", 1).unwrap();
    reader.doc.commit();
    reader.send_next().await;
    eventually("it was refused", async || {
        let refused = |frame: &PeerFrame| matches!(frame, PeerFrame::Refused { .. });
        reader.receive_all().iter().any(refused)
    })
    .await;
    reader.reads_only = false;
    reader.doc.put(ROOT, "later", 2).unwrap();
    reader.until_saved().await;
    let json = statesync.read(grant(&id), At::Now).await.unwrap();
    assert_eq!(json.content, serde_json::json!({"n": 0, "early": 1, "later": 2}));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_is_there_after_a_restart_and_a_late_joiner_needs_no_materialized_document() {
    let storage = memory();
    let statesync = start(storage.clone());
    let id = document(1);
    let mut writer = Client::open(&statesync, &id).await;
    for n in 0..200 {
        writer.doc.put(ROOT, "n", n).unwrap();
        writer.doc.commit();
    }
    writer.until_saved().await;
    drop(statesync);

    let statesync = start(storage);
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
    let statesync = start(memory());
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

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_overtakes_an_upload_waits_for_it() {
    let statesync = start(memory());
    let id = document(1);
    let mut holder = Client::open(&statesync, &id).await;
    holder.doc.put(ROOT, "here", true).unwrap();
    // The first message of a holder announces its heads and carries no changes.
    holder.send_next().await;
    holder.receive_one().await;
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
    let statesync = start(memory());
    let id = document(1);
    let mut holder = Client::open(&statesync, &id).await;
    holder.doc.put(ROOT, "here", true).unwrap();
    holder.send_next().await;
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
async fn garbage_ends_the_sender_and_nobody_else() {
    let statesync = start(memory());
    let id = document(1);
    let mut honest = Client::open(&statesync, &id).await;
    let garbage: [&[u8]; 4] = [
        b"",
        b"\x42",
        b"\x99nonsense",
        &[0x42, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    ];
    for bytes in garbage {
        let hostile = Client::open(&statesync, &id).await;
        hostile.send_raw(bytes).await;
        eventually("it is thrown out", async || {
            hostile
                .drain()
                .iter()
                .any(|frame| matches!(frame, PeerFrame::Malformed { .. }))
        })
        .await;
    }
    honest.doc.put(ROOT, "still", "here").unwrap();
    honest.until_saved().await;
}

/// Two different changes with the same actor and sequence number: automerge refuses the second.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_cannot_be_applied_is_set_aside_and_the_document_goes_on() {
    let storage = memory();
    let statesync = start(storage.clone());
    let id = document(1);
    let actor = automerge::ActorId::from(vec![7; 16]);
    let mut honest = Client::open(&statesync, &id).await;
    honest.doc.set_actor(actor.clone());
    honest.doc.put(ROOT, "a", 1).unwrap();
    honest.until_saved().await;
    let forger = Client::open(&statesync, &id).await;
    let mut forged = AutoCommit::new();
    forged.set_actor(actor);
    forged.put(ROOT, "a", 2).unwrap();
    let message = sync::Message {
        heads: forged.get_heads(),
        need: Vec::new(),
        have: Vec::new(),
        changes: forged.get_changes(&[])[0].raw_bytes().to_vec().into(),
        flags: None,
        version: sync::MessageVersion::V1,
    };
    forger.send_raw(&message.encode()).await;
    eventually("the forger is thrown out", async || {
        forger
            .drain()
            .iter()
            .any(|frame| matches!(frame, PeerFrame::Malformed { .. }))
    })
    .await;
    honest.doc.put(ROOT, "b", 3).unwrap();
    honest.until_saved().await;
    let set_aside = statesync.quarantined().await;
    assert_eq!(set_aside.len(), 1);
    assert_eq!(set_aside[0].document, id);

    let statesync = start(storage);
    let json = statesync.read(grant(&id), At::Now).await.unwrap();
    assert_eq!(json.content, serde_json::json!({"a": 1, "b": 3}));
    assert_eq!(statesync.quarantined().await.len(), 1, "found again after a restart");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_edit_is_said_so_and_asked_for_when_the_log_takes_writes_again() {
    let storage = memory();
    let log = LogHandle::start(storage.clone(), LogOptions::default()).unwrap();
    let statesync = Statesync::new(log.clone(), StatesyncOptions::new(server()));
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
    let statesync = start(memory());
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

#[tokio::test(flavor = "multi_thread")]
async fn documents_are_created_imported_read_and_exported_at_any_place() {
    let statesync = start(memory());
    let id = document(1);
    let missing = statesync.read(grant(&id), At::Now).await;
    assert_eq!(missing.unwrap_err(), DocumentError::NotFound);
    let content = serde_json::json!({"title": "plan", "items": [1, 2, 3]});
    let created = statesync.create(grant_write(&id), Some(content.clone())).await.unwrap();
    assert_eq!(created.heads.len(), 1);

    let file = statesync.export(grant(&id), At::Now).await.unwrap();
    let mut copy = AutoCommit::load(&file).unwrap();
    copy.put(ROOT, "title", "another plan").unwrap();
    let written = statesync
        .import(grant_write(&id), copy.save().into(), None)
        .await
        .unwrap();
    assert_eq!(written.heads, [ChangeHash(copy.get_heads()[0].0)]);

    let now = statesync.read(grant(&id), At::Now).await.unwrap();
    assert_eq!(now.content["title"], "another plan");
    let before = statesync
        .read(grant(&id), At::Heads(created.heads.clone()))
        .await
        .unwrap();
    assert_eq!(before.content, content);
    assert_eq!(
        statesync.read(grant(&id), At::Change(1)).await.unwrap().content,
        content
    );
    assert_eq!(
        statesync.read(grant(&id), At::Change(0)).await.unwrap().content,
        serde_json::json!({})
    );
    assert!(matches!(
        statesync.read(grant(&id), At::Change(9)).await,
        Err(DocumentError::NoSuchPlace(_))
    ));
    let old = statesync.export(grant(&id), At::Change(1)).await.unwrap();
    assert_eq!(AutoCommit::load(&old).unwrap().get_heads()[0].0, created.heads[0].0);

    let page = statesync.history(grant(&id), 0, 1).await.unwrap();
    assert_eq!((page.total, page.next, page.changes.len()), (2, Some(1), 1));
    assert!(page.changes[0].offset.is_some() && page.changes[0].committed_ms.is_some());
    let rest = statesync.history(grant(&id), 1, 10).await.unwrap();
    assert_eq!((rest.next, rest.changes[0].index), (None, 2));
    assert_eq!(statesync.list(None, 10).await.unwrap(), std::slice::from_ref(&id));
    let nonsense = statesync
        .import(grant_write(&id), b"no automerge file".as_slice().into(), None)
        .await;
    assert!(matches!(nonsense, Err(DocumentError::Invalid(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_follows_the_documents_in_use() {
    let storage = memory();
    let log = LogHandle::start(storage, LogOptions::default()).unwrap();
    let mut options = StatesyncOptions::new(server());
    options.idle = Duration::from_millis(50);
    let statesync = Statesync::new(log, options);
    let mut kept = Client::open(&statesync, &document(0)).await;
    for n in 0..40 {
        let mut client = Client::open(&statesync, &document(n)).await;
        client.doc.put(ROOT, "text", "x".repeat(1000)).unwrap();
        client.until_saved().await;
    }
    eventually("only the document in use is open, and it is cold", async || {
        let (open, memory) = statesync.usage();
        open == 1 && memory < 2_000
    })
    .await;
    eventually("the one who stayed has it and can go on", async || {
        kept.exchange().await;
        kept.doc.keys(ROOT).count() == 1
    })
    .await;
    kept.doc.put(ROOT, "more", 1).unwrap();
    kept.until_saved().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_hear_of_an_import_and_of_what_comes_after_it() {
    let statesync = start(memory());
    let id = document(1);
    let mut one = Client::open(&statesync, &id).await;
    let mut two = Client::open(&statesync, &id).await;
    for n in 0..5 {
        one.doc.put(ROOT, "n", n).unwrap();
        one.until_saved().await;
        two.exchange().await;
        let file = statesync.export(grant(&id), At::Now).await.unwrap();
        let mut copy = AutoCommit::load(&file).unwrap();
        copy.put(ROOT, format!("imported-{n}"), true).unwrap();
        statesync
            .import(grant_write(&id), copy.save().into(), None)
            .await
            .unwrap();
        one.doc.put(ROOT, format!("after-{n}"), true).unwrap();
        one.doc.commit();
        eventually("both have all of it", async || {
            one.exchange().await;
            two.exchange().await;
            one.doc.get_heads() == two.doc.get_heads() && two.doc.keys(ROOT).count() == 1 + 2 * (n as usize + 1)
        })
        .await;
    }
}
