//! Entries that are stored and cannot be applied: they hurt nobody, and are not forgotten.

use std::time::Duration;

use aetherflow_schema::{
    documents::{DocumentError, Documents},
    id::DocumentId,
    native::Start,
};
use aetherflow_statesync::Statesync;
use automerge::{AutoCommit, Change, ExpandedChange, ROOT, legacy::ObjectId, transaction::Transactable};
use bytes::Bytes;

use crate::common::{
    Client,
    author::{Author, submit},
    document, eventually,
    follower::Listener,
    grant, memory, start, start_with,
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

/// A change to what is no object: the first operation of `honest` made none.
fn in_no_object(honest: &Author) -> Bytes {
    let mut hostile = AutoCommit::new();
    hostile.put(ROOT, "one", 1).unwrap();
    hostile.put(ROOT, "two", 2).unwrap();
    let mut change = ExpandedChange::from(&hostile.get_changes(&[])[0]);
    change.operations[1].obj = ObjectId::Id(automerge::legacy::OpId(1, honest.doc.get_actor().clone()));
    Bytes::copy_from_slice(Change::from(change).raw_bytes())
}

/// Stores what cannot be applied.
async fn spoil(statesync: &Statesync, id: &DocumentId, change: Bytes) {
    let refused = submit(statesync, id, vec![change]).await;
    assert!(matches!(refused, Err(DocumentError::Invalid(_))), "{refused:?}");
    assert_eq!(statesync.quarantined().await.len(), 1);
}

async fn is_closed(statesync: &Statesync) {
    eventually("nobody has it open", async || statesync.usage().0 == 0).await;
}

/// Somebody new, by either way in, gets the document, and it is listed as what it is.
async fn is_served(statesync: &Statesync, id: &DocumentId, honest: &Author) {
    let heads = honest.doc.clone().get_heads();
    let mut peer = Client::open(statesync, id).await;
    peer.request().await;
    eventually("a peer has the document", async || {
        peer.exchange().await;
        peer.doc.get_heads() == heads
    })
    .await;
    assert_eq!(statesync.quarantined().await.len(), 1);
    drop(peer);
    is_closed(statesync).await;
    assert_eq!(statesync.quarantined().await.len(), 1, "also when nobody has it open");

    let follower = Listener::follow(statesync, id, Start::Snapshot);
    eventually("a follower is told", async || follower.snapshot().is_some()).await;
    let snapshot = follower.snapshot().unwrap();
    assert_eq!(AutoCommit::load(&snapshot.bytes).unwrap().get_heads(), heads);
    let named: Vec<_> = snapshot
        .heads
        .iter()
        .map(|head| automerge::ChangeHash(head.0))
        .collect();
    assert_eq!(named, heads);
    assert_eq!(statesync.quarantined().await.len(), 1);
    drop(follower);
    is_closed(statesync).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_later_is_not_given_what_cannot_be_applied() {
    for (n, of) in [(1, twice_the_same_number as fn(&Author) -> Bytes), (2, in_no_object)] {
        let storage = memory();
        let id = document(n);
        let mut honest = Author::new();
        let start = || start_with(storage.clone(), |options| options.idle = Duration::from_millis(20));
        let (statesync, _) = start();
        submit(&statesync, &id, honest.write(3)).await.unwrap();
        spoil(&statesync, &id, of(&honest)).await;
        is_closed(&statesync).await;
        is_served(&statesync, &id, &honest).await;

        let (statesync, _) = start();
        is_served(&statesync, &id, &honest).await;
    }
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
