//! What becomes of documents that are left alone.

use std::{sync::Arc, time::Duration};

use aetherflow_log_core::Storage;
use aetherflow_oplog::LogHandle;
use aetherflow_schema::{
    documents::Documents,
    id::{DocumentId, OpId},
    native::Start,
    record::{EntryDraft, EntryKind},
};
use aetherflow_statesync::Statesync;
use automerge::{ROOT, ReadDoc, transaction::Transactable};
use bytes::Bytes;

use crate::common::{
    Client,
    author::{Author, submit},
    document, eventually,
    follower::Listener,
    grant, memory, start_with,
    watched::Watched,
};

/// Documents over a log that are left alone soon.
fn start(storage: Arc<dyn Storage>) -> (Statesync, LogHandle) {
    start_with(storage, |options| options.idle = Duration::from_millis(20))
}

/// What sharing a document appends to it: not a change, and not by way of the document.
async fn share(log: &LogHandle, id: &DocumentId, n: u8) {
    let draft = EntryDraft {
        kind: EntryKind::Grant,
        document: id.clone(),
        op_id: OpId([n; 32]),
        author: grant(id).author().clone(),
        trace: None,
        payload: Bytes::from_static(b"somebody may read"),
    };
    log.append(vec![draft.encode().unwrap()]).await.unwrap();
}

async fn becomes_cold(statesync: &Statesync) {
    eventually("its memory is given back", async || statesync.usage().1 < 20_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_document_gives_its_memory_back_too() {
    let (statesync, log) = start(memory());
    let id = document(1);
    let mut writer = Client::open(&statesync, &id).await;
    for n in 0..3u8 {
        for key in 0..100 {
            writer.doc.put(ROOT, format!("{n}-{key}"), key).unwrap();
            writer.doc.commit();
        }
        writer.until_saved().await;
        share(&log, &id, n + 1).await;
        // Asked for what is not at hand as bytes, it is materialized.
        statesync.history(grant(&id), 0, 1).await.unwrap();
        share(&log, &id, n + 100).await;
        becomes_cold(&statesync).await;
        assert_eq!(statesync.usage().0, 1, "the writer is still there");
    }
    let mut late = Client::open(&statesync, &id).await;
    late.request().await;
    eventually("who comes then has all of it", async || {
        late.exchange().await;
        late.doc.keys(ROOT).count() == 300
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_in_which_changes_wait_is_not_read_over_and_over() {
    let storage = Watched::new();
    let (statesync, _) = start(storage.clone());
    let waiting = document(1);
    let mut author = Author::new();
    let changes = author.write(3);
    let _peer = Client::open(&statesync, &waiting).await;
    submit(&statesync, &waiting, vec![changes[0].clone(), changes[2].clone()])
        .await
        .unwrap();
    // Others come, are left alone, and give their memory back while this one is alone, too.
    let mut reads = Vec::new();
    for n in 2..8 {
        let id = document(n);
        let mut other = Client::open(&statesync, &id).await;
        for key in 0..100 {
            other.doc.put(ROOT, format!("{key}"), key).unwrap();
            other.doc.commit();
        }
        other.until_saved().await;
        becomes_cold(&statesync).await;
        reads.push(storage.reading.count());
    }
    let apart: Vec<_> = reads.windows(2).map(|two| two[1] - two[0]).collect();
    assert!(
        apart.iter().all(|reads| *reads <= 2),
        "{apart:?}: opening one reads once or twice"
    );
    submit(&statesync, &waiting, vec![changes[1].clone()]).await.unwrap();
    let follower = Listener::follow(&statesync, &waiting, Start::Snapshot);
    eventually("what waited is there", async || {
        follower.document().keys(ROOT).count() == 3
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_follows_the_documents_in_use() {
    let (statesync, _) = start(memory());
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
