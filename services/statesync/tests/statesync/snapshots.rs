//! Snapshots that are of no use: they cost time, never data.

use std::time::Duration;

use aetherflow_log_core::{Storage, storage::Snapshot};
use aetherflow_schema::{
    documents::Documents,
    id::{ChangeHash, Offset},
};
use automerge::AutoCommit;
use bytes::Bytes;

use crate::common::{
    author::{Author, submit},
    document, eventually, grant, memory, start, start_with,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_large_document_is_closed_with_nothing_behind_its_snapshot() {
    let (statesync, log) = start_with(memory(), |options| options.idle = Duration::from_millis(20));
    let id = document(1);
    let mut author = Author::new();
    let mut written = Offset::ZERO;
    for changes in [4_200, 1] {
        let submitted = submit(&statesync, &id, author.write(changes)).await.unwrap();
        written = *submitted.offsets.last().unwrap();
        eventually("it is closed", async || statesync.usage() == (0, 0)).await;
    }
    eventually("the snapshot has the last change, too", async || {
        log.snapshot(&id)
            .unwrap()
            .is_some_and(|snapshot| snapshot.offset == written)
    })
    .await;
}

/// A chunk of automerge's format in which there is nothing that could be loaded.
fn hollow_chunk() -> Vec<u8> {
    let mut chunk = vec![0x85, 0x6f, 0x4a, 0x83, 0, 0, 0, 0, 0, 100];
    chunk.extend_from_slice(&[0xff; 100]);
    chunk
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_whose_snapshot_does_not_load_is_built_from_the_log() {
    for (n, garbage) in [(1, vec![7; 300]), (2, hollow_chunk())] {
        let storage = memory();
        let id = document(n);
        let mut author = Author::new();
        let (statesync, _) = start(storage.clone());
        let first = submit(&statesync, &id, author.write(5)).await.unwrap();
        let snapshot = Snapshot {
            offset: *first.offsets.last().unwrap(),
            heads: author.doc.get_heads().iter().map(|head| ChangeHash(head.0)).collect(),
            changes: 5,
            document: Bytes::from(garbage),
        };
        submit(&statesync, &id, author.write(2)).await.unwrap();
        drop(statesync);
        storage.put_snapshot(&id, &snapshot).unwrap();

        let (statesync, _) = start(storage);
        let file = statesync.export(grant(&id), Default::default()).await.unwrap();
        assert_eq!(AutoCommit::load(&file).unwrap().get_heads(), author.doc.get_heads());
        assert!(statesync.quarantined().await.is_empty());
        submit(&statesync, &id, author.write(1)).await.unwrap();
        let json = statesync.read(grant(&id), Default::default()).await.unwrap();
        assert_eq!(json.changes, 8);
    }
}
