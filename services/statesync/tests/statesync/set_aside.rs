//! Entries that are stored and cannot be applied: they hurt nobody, and are not forgotten.

use aetherflow_schema::{
    documents::{DocumentError, Documents},
    id::DocumentId,
};
use aetherflow_statesync::Statesync;
use automerge::{ROOT, transaction::Transactable};
use bytes::Bytes;

use crate::common::{
    Client,
    author::{Author, submit},
    document, eventually, grant, start,
    watched::Watched,
};

/// A change with an actor and a sequence number that exist: what the device of `honest` sends when it was restored from a
/// backup.
fn twice_the_same_number(honest: &Author) -> Bytes {
    let mut restored = Author::new();
    restored.doc.set_actor(honest.doc.get_actor().clone());
    restored.doc.put(ROOT, "forged", true).unwrap();
    restored.write(0).remove(0)
}

/// Stores what cannot be applied.
async fn spoil(statesync: &Statesync, id: &DocumentId, change: Bytes) {
    let refused = submit(statesync, id, vec![change]).await;
    assert!(matches!(refused, Err(DocumentError::Invalid(_))), "{refused:?}");
    assert_eq!(statesync.quarantined().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_of_a_document_that_nobody_edits_does_not_hide_what_is_set_aside() {
    let storage = Watched::new();
    let id = document(1);
    let mut honest = Author::new();
    let (statesync, _) = start(storage.clone());
    submit(&statesync, &id, honest.write(70)).await.unwrap();
    spoil(&statesync, &id, twice_the_same_number(&honest)).await;

    let (statesync, log) = start(storage.clone());
    let quiet = Client::open(&statesync, &id).await;
    eventually("it is found again", async || !statesync.quarantined().await.is_empty()).await;
    // Answered when whatever it was at is done.
    let json = statesync.read(grant(&id), Default::default()).await.unwrap();
    assert_eq!(json.changes, 70);
    drop(quiet);
    assert!(log.snapshot(&id).unwrap().is_none());

    let (statesync, _) = start(storage);
    let json = statesync.read(grant(&id), Default::default()).await.unwrap();
    assert_eq!(json.changes, 70);
    assert_eq!(statesync.quarantined().await.len(), 1);
}
